"""Training: the loop, its checkpoints, devices and hyperparameter search."""
