"""Every command that writes to an output refuses to be the second one."""

from __future__ import annotations

import os
import pathlib

import pytest

from audio.errors import BusyError
from storage.locks import exclusive
from tests.support.command import nocturne

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("command", "lock"),
    [
        ("prepare --input {recordings} --output out", "out"),
        ("train --dataset {dataset} --model out", "out.training"),
        ("generate --model {model} --output out --clips 1 --seconds 1", "out"),
        ("evaluate --model {model} --dataset {dataset} --output out", "out.lock"),
        ("demo --root out --input {recordings}", "out"),
    ],
)
def test_the_second_command_is_refused_at_once_and_leaves_nothing(
    tmp_path: pathlib.Path, request: pytest.FixtureRequest, command: str, lock: str
) -> None:
    inputs = {name: request.getfixturevalue(name) for name in ("recordings", "dataset", "model")}
    with exclusive(str(tmp_path / lock)):
        before = sorted(tmp_path.rglob("*"))
        done = nocturne(*command.format(**inputs).split(), cwd=tmp_path)
        assert done.returncode == BusyError.exit_code, done.stderr
        assert done.stderr.startswith(f"nocturne: {lock}: another process is at work there (pid ")
        assert f"pid {os.getpid()} on " in done.stderr
        after = [path for path in sorted(tmp_path.rglob("*")) if path.name not in ("home", ".local")
                 and "home" not in path.parts and path.name != "log.txt"]  # fmt: skip
        assert after == before
