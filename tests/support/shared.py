"""Folders that one worker of a test run builds, and all of its workers read."""

from __future__ import annotations

import fcntl
import os
import pathlib
from collections.abc import Callable

import pytest


def build_once(
    factory: pytest.TempPathFactory, name: str, build: Callable[[pathlib.Path], object]
) -> pathlib.Path:
    """Returns a folder, and builds it if no other worker did.

    Args:
      factory: Knows the temporary folder of this worker, which is below that of the test run.
      name: Name of the folder.
      build: Fills a folder that does not exist yet.
    """
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, built = root / name, root / f"{name}.built"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            build(folder)
            built.touch()
    return folder
