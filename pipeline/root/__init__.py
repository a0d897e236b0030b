"""A pipeline root: its paths, locks, metadata store and the history of its runs."""
