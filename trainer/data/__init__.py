"""From a prepared dataset to batches of normalised windows."""
