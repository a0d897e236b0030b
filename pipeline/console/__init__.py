"""What the terminal and the log show while a command works."""
