"""The command line, the TFX pipelines, the report: everything that ties the stages together."""
