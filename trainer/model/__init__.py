"""The network: inputs, LSTM and output heads."""
