"""Finding the error that a user can act on inside what a runner raised.

Beam passes a worker's exception on as text, and TFX wraps what a node raised: the type is lost on
the way, but not its name.
"""

from __future__ import annotations

import re

from audio import errors

# What Beam adds to a message.
_STEP = re.compile(r" \[while running .*\]$", re.DOTALL)
_IN_TEXT = re.compile(r"audio\.errors\.(\w+): (.+?)(?: \[while running .*\])?\s*$", re.MULTILINE)


def find_nocturne_error(error: BaseException) -> BaseException:
    """Returns the NocturneError or KeyboardInterrupt behind an error, else its first cause."""
    while True:
        if isinstance(error, KeyboardInterrupt):
            return error
        if isinstance(error, errors.NocturneError):
            plain = _STEP.sub("", str(error))
            return error if plain == str(error) else type(error)(plain)
        found = _from_text(str(error))
        if found:
            return found
        cause = error.__cause__ or error.__context__
        if cause is None:
            return error
        error = cause


def _from_text(text: str) -> BaseException | None:
    if re.search(r"^KeyboardInterrupt\b", text, re.MULTILINE):
        return KeyboardInterrupt()
    for name, message in reversed(_IN_TEXT.findall(text)):
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, errors.NocturneError):
            return kind(message)
    return None
