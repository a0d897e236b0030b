"""Programs that a test wants from the system, and Python packages do not bring."""

from __future__ import annotations

import os
import shutil

import pytest


def require_program(*names: str) -> str:
    """Returns the first of the programs that is there; else skips the test, by name.

    In CI, which installs them, their absence is a failure.
    """
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    reason = f"needs {' or '.join(names)}"
    if os.environ.get("NOCTURNE_CI"):
        pytest.fail(f"{reason}, which .ci/run should have installed")
    return pytest.skip(reason)
