"""What can go wrong for a user, each with the exit code that the command line gives it.

The table in docs/files_and_exit_codes.md is checked against these classes by a test.
"""


class NocturneError(Exception):
    """A problem the user can act on: the message says what was wanted, what came, what to do."""

    exit_code = 1


class UsageError(NocturneError):
    """An option or a key of the configuration is unknown or out of range."""

    exit_code = 2


class AudioError(NocturneError, ValueError):
    """Audio that cannot be used: unreadable, empty, not finite, too short, ...

    Attributes:
      remedy: what a user can do about it; empty where the message says it already.
    """

    exit_code = 3

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class InputError(NocturneError):
    """The input as a whole cannot be used: missing, empty, or no audio in it."""

    exit_code = 3


class IncompleteError(NocturneError):
    """A dataset, model or run without its completion marker."""

    exit_code = 4


class ConfigMismatchError(NocturneError, ValueError):
    """Two artifacts were made with different front ends."""

    exit_code = 5


class OutputExistsError(NocturneError):
    """The output already holds a finished run, or something that is not ours."""

    exit_code = 6


class TooManyRejectedError(NocturneError):
    """More input files were rejected than the configuration allows."""

    exit_code = 7


class NotBlessedError(NocturneError):
    """No model has passed validation."""

    exit_code = 8


class LineageError(NocturneError):
    """A clip cannot be traced: its manifest or its metadata is gone or does not match."""

    exit_code = 9


class UnwritableError(NocturneError):
    """What has to be kept cannot be written, or not be read again."""

    exit_code = 11


class BusyError(NocturneError):
    """Another process is at the same work."""
