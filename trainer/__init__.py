"""The LSTM that predicts the next log-mel frame: data, model, training, export."""
