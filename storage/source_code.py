"""Fingerprints of Nocturne's own code, for the keys of caches."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import pathlib
from collections.abc import Iterator


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
