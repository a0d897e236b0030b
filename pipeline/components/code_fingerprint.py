"""Fingerprints of Nocturne's own code, which TFX's cache keys must contain.

TFX does not look at the code of custom components, so the result of a changed component would be
taken from the cache unless a fingerprint of its code is one of its parameters.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import pathlib
from collections.abc import Iterator

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


@functools.cache
def code_fingerprint(*packages: str) -> str:
    """Returns 12 hex digits that change with any Python source of the given packages.

    Args:
      *packages: Packages or single modules that can be imported, such as `trainer` or
        `pipeline.evaluation`. A package includes its sub-packages.
    """
    digest = hashlib.sha256()
    for package in packages:
        for name, path in source_files(package):
            digest.update(f"{package}/{name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def source_files(package: str) -> Iterator[tuple[str, pathlib.Path]]:
    """Yields the relative name and the path of each Python source of a package or module."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    origin = pathlib.Path(spec.origin)
    is_package = spec.submodule_search_locations is not None
    for path in sorted(origin.parent.rglob("*.py")) if is_package else [origin]:
        yield path.relative_to(origin.parent).as_posix(), path
