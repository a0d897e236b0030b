"""What the terminal and the logs show while a command works."""
