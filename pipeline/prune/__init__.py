"""Removal of old runs from a pipeline root."""
