"""Processes that a test starts and kills, forked from one that has loaded the libraries already."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
# Loaded once, by the process from which all others are forked. TensorFlow may be loaded before a
# fork, but not have run anything.
_CONTEXT.set_forkserver_preload(["generator.generate"])


def start(function: Callable[..., object], *args: Any) -> multiprocessing.process.BaseProcess:
    """Starts a function of a module in a new process."""
    process = _CONTEXT.Process(target=function, args=args)
    process.start()
    return process
