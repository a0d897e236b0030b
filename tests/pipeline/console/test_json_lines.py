"""Logs in JSON: every line an object, with the run, the node and the clip where these are known."""

from __future__ import annotations

import datetime
import json
from typing import Any

from tests.support import signals
from tests.support.command import nocturne, start_nocturne


def rows(stderr: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr.splitlines()]


def test_a_command_logs_its_stages_as_objects_and_prints_nothing_else(tmp_path) -> None:
    signals.write(tmp_path / "music" / "one.wav", signals.tune(seconds=4))
    command = ("--log-format", "json", "prepare", "--input", "music", "--output", "dataset")
    done = nocturne(*command, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    ended = {row["node"]: row for row in rows(done.stderr) if "outcome" in row}
    assert list(ended) == ["find files", "prepare"]
    assert ended["find files"]["outcome"] == "1 file"
    assert ended["prepare"]["seconds"] > 0
    for row in rows(done.stderr):
        assert {"time", "level", "message"} <= set(row)
        assert row["level"] == "INFO"
        assert datetime.datetime.fromisoformat(row["time"]).tzinfo is not None


def test_a_failure_is_one_object_with_its_run_and_exit_code(tmp_path) -> None:
    """By the environment, as a scheduler sets it."""
    command = ("run", "generation", "--root", "none", "--output", "clips", "--run-id", "n1")
    done = start_nocturne(*command, cwd=tmp_path, NOCTURNE_LOG_FORMAT="json")
    assert (done.returncode, done.stdout) == (8, "")
    (row,) = rows(done.stderr)
    assert row.pop("time")
    assert row.pop("message").startswith("no blessed model below none: nothing was trained there")
    assert row == {"level": "ERROR", "run_id": "n1", "error": "NotBlessedError", "exit_code": 8}


def test_another_format_is_refused(tmp_path) -> None:
    done = nocturne("--log-format", "xml", "doctor", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "nocturne: --log-format: wanted text or json, got 'xml'\n"
