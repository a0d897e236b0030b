"""What the commands do that need no TFX: single stages, `init` and `doctor`."""
