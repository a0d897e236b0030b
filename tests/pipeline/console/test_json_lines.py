"""Logs in JSON: every line an object, with the run, the node and the clip where these are known."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from tests.support import signals

NOCTURNE = pathlib.Path(sys.executable).with_name("nocturne")


def logged(
    cwd: pathlib.Path, *args: str, code: int = 0, **environment: str
) -> tuple[list[dict[str, Any]], str]:
    """Runs a command; returns the lines of its stderr as objects, and its stdout."""
    done = subprocess.run(
        [str(NOCTURNE), *args], capture_output=True, text=True, check=False, cwd=cwd,
        env={**os.environ, "XDG_STATE_HOME": str(cwd / "state"), **environment},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()], done.stdout


@pytest.mark.slow
def test_a_command_logs_its_stages_as_objects_and_prints_nothing_else(tmp_path) -> None:
    signals.write(tmp_path / "music" / "one.wav", signals.tune(seconds=4))
    rows, printed = logged(
        tmp_path, "--log-format", "json", "prepare", "--input", "music", "--output", "dataset"
    )
    assert printed == ""
    ended = {row["node"]: row for row in rows if "outcome" in row}
    assert list(ended) == ["find files", "prepare"]
    assert ended["find files"]["outcome"] == "1 files"
    assert ended["prepare"]["seconds"] > 0
    for row in rows:
        assert {"time", "level", "message"} <= set(row)
        assert row["level"] == "INFO"
        assert datetime.datetime.fromisoformat(row["time"]).tzinfo is not None


def test_a_failure_is_one_object_with_its_run_and_exit_code(tmp_path) -> None:
    """By the environment, as a scheduler sets it."""
    rows, printed = logged(
        tmp_path, "run", "generation", "--root", "none", "--output", "clips", "--run-id", "n1",
        code=8, NOCTURNE_LOG_FORMAT="json",
    )  # fmt: skip
    assert printed == ""
    (row,) = rows
    assert row.pop("time")
    assert row.pop("message").startswith("no blessed model below none: nothing was trained there")
    assert row == {"level": "ERROR", "run_id": "n1", "error": "NotBlessedError", "exit_code": 8}


def test_another_format_is_refused(tmp_path) -> None:
    done = subprocess.run(
        [str(NOCTURNE), "--log-format", "xml", "doctor"], capture_output=True, text=True,
        check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "nocturne: --log-format: wanted text or json, got 'xml'\n"
