"""What a command says, as one JSON object a line on stderr: for machines that collect logs."""

from __future__ import annotations

import datetime
import json
import os
from typing import Any, TextIO

TEXT, JSON = "text", "json"
FORMATS = (TEXT, JSON)

# Chosen once a process, by --log-format; see set_format.
_format = TEXT
_run_id: str | None = None


def set_format(log_format: str) -> None:
    """Sets how this process logs: text or json."""
    global _format
    _format = log_format


def current_format() -> str:
    """Returns how this process logs."""
    return _format


def set_run_id(run_id: str | None) -> None:
    """Sets the run whose work this process does; it is in every line from here on."""
    global _run_id
    _run_id = run_id


def open_stderr() -> TextIO:
    """Returns a file on what stderr is now: it is pointed elsewhere while libraries work."""
    return os.fdopen(os.dup(2), "w", buffering=1)


def write(file: TextIO, level: str, message: str, **fields: Any) -> None:
    """Writes a line.

    Args:
      file: where to.
      level: INFO or ERROR.
      message: for people.
      **fields: what is known besides, such as node, clip, seconds; None is left out.
    """
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    row = {"time": time, "level": level, "run_id": _run_id, **fields, "message": message}
    known = {name: value for name, value in row.items() if value is not None}
    print(json.dumps(known, ensure_ascii=False), file=file, flush=True)
