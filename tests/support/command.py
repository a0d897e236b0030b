"""The `nocturne` command, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from unittest import mock

from pipeline.cli.app import app
from pipeline.console import json_lines

NOCTURNE = pathlib.Path(sys.executable).with_name("nocturne")


def _environment(cwd: pathlib.Path, extra: dict[str, str]) -> dict[str, str]:
    # PYTHONPATH leads to the sources under test, if they are not the installed ones.
    path = os.environ.get("PYTHONPATH", "")
    return {"PATH": "/usr/bin:/bin", "HOME": str(cwd / "home"), "PYTHONPATH": path, **extra}


def start_nocturne(
    *args: object, cwd: pathlib.Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command as a user does, in a new process, which loads all libraries again."""
    return subprocess.run(
        [str(NOCTURNE), *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=_environment(cwd, environment),
    )


def nocturne(
    *args: object, cwd: pathlib.Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command in this process; returns what start_nocturne does.

    Output is taken from the file descriptors, because C++ libraries and the console write there.
    """
    arguments = [str(arg) for arg in args]
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        with (
            contextlib.chdir(cwd),
            mock.patch.dict(os.environ, _environment(cwd, environment), clear=True),
            _descriptor(1, stdout.fileno()),
            _descriptor(2, stderr.fileno()),
            os.fdopen(os.dup(1), "w") as printed,
            os.fdopen(os.dup(2), "w") as errors,
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(errors),
        ):
            try:
                app(arguments, prog_name="nocturne")
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                json_lines.set_format(json_lines.TEXT)
                json_lines.set_run_id(None)
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read())
    return subprocess.CompletedProcess(arguments, code, *texts)


@contextlib.contextmanager
def _descriptor(target: int, source: int) -> Iterator[None]:
    """Points a file descriptor at another file while the block runs."""
    saved = os.dup(target)
    os.dup2(source, target)
    try:
        yield
    finally:
        os.dup2(saved, target)
        os.close(saved)
