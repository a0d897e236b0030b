"""A trained model as others see it: SavedModel, rollout, warm start."""
