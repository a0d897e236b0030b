"""The same work as the pipelines, stage by stage and without TFX."""
