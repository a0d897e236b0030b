"""Fingerprints of Nocturne's own code, which TFX's cache keys must contain.

TFX does not look at the code of custom components, so the result of a changed component would be
taken from the cache unless a fingerprint of its code is one of its parameters.
"""

from __future__ import annotations

from storage.source_code import code_fingerprint

# For each node with code of ours: the module that TFX calls, and the packages that it imports. A
# test compares them with the import graph.
NODE_CODE = {
    "AudioExampleGen": ("pipeline.components.example_gen", "audio", "beam_transforms", "storage"),
    "Transform": ("trainer.data.transform_graph", "audio"),
    "Tuner": ("trainer.run_fn", "audio", "storage", "trainer"),
    "Trainer": ("trainer.run_fn", "audio", "storage", "trainer"),
    "Evaluator": (
        "pipeline.components.evaluator",
        "audio",
        "generator",
        "pipeline.config.sections",
        "pipeline.evaluation",
        "storage",
        "trainer",
    ),
    "BatchGenerator": ("generator.executor", "audio", "generator", "storage"),
}


def node_fingerprint(node: str) -> str:
    """Returns the fingerprint of the code that a node runs."""
    return code_fingerprint(*NODE_CODE[node])
