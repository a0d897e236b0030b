"""The TFX components and the two pipelines that they form."""
