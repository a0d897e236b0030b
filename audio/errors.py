"""Errors that a user can act on, each with the exit code that the command line gives it.

A test checks the table of exit codes in docs/files_and_exit_codes.md against these classes.
"""


class NocturneError(Exception):
    """Base class: the message says what was wanted, what came, and what to do."""

    exit_code = 1


class UsageError(NocturneError):
    """An option or a key of the configuration is unknown or out of range.

    Attributes:
      key: The key, such as train.steps; empty if the error is about something else.
    """

    exit_code = 2

    def __init__(self, message: str, *, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class AudioError(NocturneError, ValueError):
    """Audio cannot be used: it is unreadable, empty, not finite, too short, or similar.

    Attributes:
      remedy: What the user can do about it; empty if the message says so itself.
    """

    exit_code = 3

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class InputError(NocturneError):
    """The input as a whole cannot be used: it is missing, empty, or contains no audio."""

    exit_code = 3


class IncompleteError(NocturneError):
    """A dataset, model or run has no completion marker."""

    exit_code = 4


class ConfigMismatchError(NocturneError, ValueError):
    """Two artifacts were made with different front ends."""

    exit_code = 5


class OutputExistsError(NocturneError):
    """The output already contains a finished run, or files that Nocturne did not write."""

    exit_code = 6


class TooManyRejectedError(NocturneError):
    """More input files were rejected than the configuration allows."""

    exit_code = 7


class NotBlessedError(NocturneError):
    """No model has passed evaluation."""

    exit_code = 8


class LineageError(NocturneError):
    """A clip cannot be traced: its manifest or its metadata is missing or does not match."""

    exit_code = 9


class UnwritableError(NocturneError):
    """Output or training state cannot be written or read back."""

    exit_code = 11


class BusyError(NocturneError):
    """Another process is already at work on the same output."""

    exit_code = 6


class CannotJudgeError(NocturneError):
    """There is too little held-out music to judge a model."""

    exit_code = 13


class MachineError(NocturneError):
    """The machine has no memory or no open files left, or cannot read from a disk or a network."""

    exit_code = 14
