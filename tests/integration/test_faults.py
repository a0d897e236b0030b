"""Faults at random: a thirtieth of what `make faults` does, which takes about a minute."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

PROJECT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_every_fault_at_random_ends_in_the_same_bytes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.inject_faults", "--count", "10"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "10 of 10 faults ended in the same bytes" in done.stdout
