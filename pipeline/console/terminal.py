"""The terminal: named stages with progress, while the output of libraries goes to a log file.

TensorFlow and Beam also write to the process's stdout and stderr from C++. While a command works,
both therefore point to the log file, and the console writes to a copy of the real one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from pipeline.console import json_lines
from pipeline.console.streams import lossy_writer, printable

_PLAIN_INTERVAL_SECONDS = 15.0  # between progress lines where there is no terminal for a bar


class StepRate:
    """Measures training steps per second, without the steps before an interruption.

    Attributes:
      first: The first step that was seen; None before it.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self._started = 0.0

    def describe(self, done: int) -> str:
        """Returns the rate as text; an empty text at the first step."""
        if self.first is None:
            self.first, self._started = done, time.monotonic()
            return ""
        rate = (done - self.first) / max(time.monotonic() - self._started, 1e-9)
        return f"{rate:.1f} steps/s"


class Stage:
    """A stage of a command.

    Attributes:
      name: Its name.
      outcome: Shown when it ends; "done" if empty.
    """

    def __init__(self, console: Console, name: str) -> None:
        self._console, self.name = console, name
        self.outcome = ""
        self._started = self._last_line = time.monotonic()
        self._task: TaskID | None = None

    def begin(self) -> None:
        """Shows the stage."""
        if self._console.progress:
            self._task = self._console.progress.add_task(self.name, total=None, note="")
        else:
            self._console.line(f"{self.name} ...", node=self.name)

    def update(self, done: int, total: int | None, note: str = "") -> None:
        """Updates the progress bar and its note."""
        if self._console.progress and self._task is not None:
            self._console.progress.update(self._task, completed=done, total=total, note=note)
        elif time.monotonic() - self._last_line > _PLAIN_INTERVAL_SECONDS:
            self._last_line = time.monotonic()
            text = f"  {self.name}: {done}{f' of {total}' if total else ''} {note}"
            self._console.line(text, node=self.name, done=done, total=total)

    def end(self, failed: bool) -> None:
        """Replaces the progress bar with a line that stays."""
        if self._console.progress and self._task is not None:
            self._console.progress.remove_task(self._task)
        seconds = time.monotonic() - self._started
        outcome = "failed" if failed else self.outcome or "done"
        self._console.line(
            f"{self.name:<22} {seconds:7.1f} s   {outcome}",
            node=self.name,
            seconds=round(seconds, 3),
            outcome=outcome,
        )


class Console:
    """Shows stages and lines on the process's first stdout, or as JSON lines on its first stderr.

    A context manager, because it holds files open.

    Args:
      aside: Whether to use stderr, because the command prints JSON to stdout.
    """

    def __init__(self, *, aside: bool = False) -> None:
        self._json = (
            json_lines.open_stderr() if json_lines.current_format() == json_lines.JSON else None
        )
        self._file = lossy_writer(2 if aside else 1)
        # File names can look like markup or emoji.
        self._rich = RichConsole(
            file=self._file, highlight=False, soft_wrap=True, markup=False, emoji=False
        )
        self.progress: Progress | None = None

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._file, self._json):
            if file:
                file.close()

    def line(self, text: str = "", **fields: Any) -> None:
        """Prints a line; the fields, such as node and clip, only appear in JSON logs.

        Control characters, such as those in file names, are escaped.
        """
        if self._json:
            json_lines.write(self._json, "INFO", " ".join(text.split()), **fields)
            return
        self._rich.print(printable(text))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Shows a named stage while the block runs, and then how long it took."""
        stage = Stage(self, name)
        with self._live():
            stage.begin()
            failed = True
            try:
                yield stage
                failed = False
            finally:
                stage.end(failed)

    @contextlib.contextmanager
    def _live(self) -> Iterator[None]:
        if self._json or not self._rich.is_terminal or self.progress:
            yield
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:<22}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self._rich, transient=True) as progress:
            self.progress = progress
            try:
                yield
            finally:
                self.progress = None


class PollingThread:
    """Calls a function every second while a block runs, to watch work that only writes files."""

    def __init__(self, poll: Callable[[], None]) -> None:
        self._poll, self._stop = poll, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            self._poll()

    def __enter__(self) -> PollingThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@contextlib.contextmanager
def library_output_to(path: pathlib.Path) -> Iterator[None]:
    """Sends what libraries print, log and warn to a file while the block runs.

    Where no such file can be made, that is lost, and the work goes on.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = path.open("ab")
    except OSError:
        log = pathlib.Path(os.devnull).open("ab")  # noqa: SIM115
    # TensorFlow reads this while it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    handler = logging.StreamHandler(lossy_writer(log.fileno()))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    old_handlers, old_level = root.handlers[:], root.level
    saved = os.dup(1), os.dup(2)
    with log, handler.stream, warnings.catch_warnings():
        logging.captureWarnings(True)
        root.handlers, root.level = [handler], logging.INFO
        sys.stdout.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for target, copy in enumerate(saved, start=1):
                os.dup2(copy, target)
                os.close(copy)
            root.handlers, root.level = old_handlers, old_level
            logging.captureWarnings(False)
            handler.close()
