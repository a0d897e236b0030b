"""Fingerprints of Nocturne's own code, which TFX's cache keys must contain.

TFX does not look at the code of custom components, so a changed component would be served from the
cache unless its fingerprint is one of its parameters.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import pathlib


@functools.cache
def code_fingerprint(*packages: str) -> str:
    """Returns 12 hex digits that change with any Python source of the given packages.

    Args:
      packages: importable packages, such as `trainer` or `pipeline.evaluation`; the modules of
        their sub-packages count, too. A single module may be given as well.
    """
    digest = hashlib.sha256()
    for package in packages:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        origin = pathlib.Path(spec.origin)
        is_package = spec.submodule_search_locations is not None
        for path in sorted(origin.parent.rglob("*.py")) if is_package else [origin]:
            name = path.relative_to(origin.parent).as_posix()
            digest.update(f"{package}/{name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
