"""The configuration: its sections, and how files and overrides are read."""
