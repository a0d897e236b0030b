"""New clips from a trained model: rollout, vocoder, health, files and their manifest."""
