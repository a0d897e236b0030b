"""Finds the error that a user can act on inside what Beam or TFX raised.

Beam passes a worker's exception on as text, and TFX wraps what a node raised. The type of the
exception is lost on the way, but the text still contains its name. Faults of the system, such as a
full disk, are found as well, wherever they come from.
"""

from __future__ import annotations

import re

from audio import errors
from storage.faults import find_fault

# What Beam appends to a message.
_STEP = re.compile(r" \[while running .*\]$", re.DOTALL)
_IN_TEXT = re.compile(r"audio\.errors\.(\w+): (.+?)(?: \[while running .*\])?\s*$", re.MULTILINE)


def find_nocturne_error(error: BaseException) -> BaseException:
    """Returns the NocturneError or KeyboardInterrupt behind an error, or else its first cause."""
    while True:
        if isinstance(error, KeyboardInterrupt):
            return error
        if isinstance(error, errors.NocturneError):
            message = _STEP.sub("", str(error))
            return error if message == str(error) else type(error)(message)
        named = _named_in(str(error)) or find_fault(error)
        if named:
            return named
        cause = error.__cause__ or error.__context__
        if cause is None:
            return error
        error = cause


def _named_in(text: str) -> BaseException | None:
    """Returns the last user-facing error that a text names."""
    if re.search(r"^KeyboardInterrupt\b", text, re.MULTILINE):
        return KeyboardInterrupt()
    for name, message in reversed(_IN_TEXT.findall(text)):
        error_type = getattr(errors, name, None)
        if isinstance(error_type, type) and issubclass(error_type, errors.NocturneError):
            return error_type(message)
    return None
