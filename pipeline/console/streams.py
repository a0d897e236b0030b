"""Output to a terminal, a pipe or a log, which must never end the work that it is about.

The reader of a pipe may be gone (`| head -n 1`), a disk full (`> /dev/full`), and a daemon has no
standard streams at all (`>&-`). What cannot be shown is then lost, and the work goes on.
"""

from __future__ import annotations

import io
import os
import re
import sys
from typing import Any, TextIO

from audio.errors import UnwritableError

# What a terminal obeys or that hides what is there: control characters, line and paragraph
# separators, changes of the direction of text, and bytes of names that are not UTF-8.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Returns a text on one line in which hidden characters, such as ESC, are written \x1b."""
    return _HIDDEN.sub(lambda match: ascii(match[0])[1:-1], text)


def json_printable(text: str) -> str:
    r"""Returns JSON without line breaks, in which hidden characters are written \u001b."""
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class _LossyFile(io.FileIO):
    """A file that pretends to have written what it cannot write.

    Attributes:
      error: The last error.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes bytes if that is possible."""
        try:
            written = super().write(data)
        except OSError as error:
            self.error, written = error, None
        # It is also None if a pipe is full that does not wait.
        return memoryview(data).nbytes if written is None else written


def lossy_writer(descriptor: int) -> TextIO:
    """Returns a text file on a copy of a descriptor that loses what cannot be written."""
    file = io.BufferedWriter(_LossyFile(os.dup(descriptor), "w"))
    return io.TextIOWrapper(file, errors="backslashreplace", line_buffering=True)


class _StandardStream(io.TextIOWrapper):
    """Standard output or error, which loses what cannot be written and escapes what is hidden.

    It belongs to the number of the descriptor, whatever file that stands for at the moment.
    """

    def __init__(self, descriptor: int) -> None:
        file = io.BufferedWriter(_LossyFile(descriptor, "w", closefd=False))
        super().__init__(file, errors="backslashreplace", line_buffering=True)

    def write(self, text: str) -> int:
        """Writes a text, of which line breaks and tabs are kept."""
        super().write(re.sub(r"[^\n\t]+", lambda match: printable(match[0]), text))
        return len(text)


def protect_standard_streams() -> None:
    """Makes this process independent of its standard streams. A program calls it first.

    A closed descriptor is opened on /dev/null: otherwise the next file that is opened, perhaps of
    the dataset, would get its number, and what libraries print would be written into it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    sys.stdout, sys.stderr = _StandardStream(1), _StandardStream(2)


def print_result(text: str) -> None:
    """Prints the result of a command to stdout.

    Raises:
      UnwritableError: It cannot be written, for another reason than that nobody reads it.
    """
    print(text, flush=True)
    file = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = file.error if isinstance(file, _LossyFile) else None
    if error and not isinstance(error, BrokenPipeError):
        raise UnwritableError(
            f"the result cannot be written to stdout: {error.strerror}. The work itself is done."
        )
