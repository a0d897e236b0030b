"""Runs of the TFX pipelines, whole or one node at a time."""
