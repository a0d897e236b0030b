"""Fingerprints of our own code: what TFX's cache must know and does not look at by itself."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import pathlib


@functools.cache
def code_version(*packages: str) -> str:
    """Returns 12 hex digits of the Python sources of packages; any change changes them."""
    digest = hashlib.sha256()
    for package in packages:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        folder = pathlib.Path(spec.origin).parent
        for path in sorted(folder.glob("*.py")):
            digest.update(f"{package}/{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
