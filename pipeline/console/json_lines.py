"""Messages as one JSON object per line on stderr, for programs that collect logs."""

from __future__ import annotations

import datetime
import json
from typing import Any, TextIO

from pipeline.console.streams import json_printable, lossy_writer

TEXT, JSON = "text", "json"
FORMATS = (TEXT, JSON)

# State of the process, set by --log-format and by the command that runs.
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
    """Sets the pipeline run that all further lines belong to."""
    global _run_id
    _run_id = run_id


def open_stderr() -> TextIO:
    """Returns a file on the present stderr, which stays valid while stderr points to a log file."""
    return lossy_writer(2)


def write(file: TextIO, level: str, message: str, **fields: Any) -> None:
    """Writes a line.

    Args:
      file: Open text file.
      level: INFO or ERROR.
      message: Text for people.
      **fields: Further fields, such as node, clip and seconds; those that are None are left out.
    """
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    row = {"time": time, "level": level, "run_id": _run_id, **fields, "message": message}
    present = {name: value for name, value in row.items() if value is not None}
    print(json_printable(json.dumps(present, ensure_ascii=False)), file=file, flush=True)
