"""SIGTERM and SIGINT during training: caught, so that the state can be saved between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from audio.errors import NocturneError


class PreemptedError(NocturneError):
    """The machine was taken away; the same command continues the run later."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again


class SignalCatcher:
    """A signal handler that remembers what it received.

    Attributes:
      received: Number of the signal; None if there was none.
    """

    received: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Remembers a signal; a second Ctrl-C ends the program at once."""
        del frame
        if number == signal.SIGINT and self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def raise_if_received(self, message: str) -> None:
        """Ends the run if there was a signal.

        Raises:
          PreemptedError: For SIGTERM, with the message.
          KeyboardInterrupt: For Ctrl-C.
        """
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise PreemptedError(message)


@contextmanager
def catch_signals() -> Iterator[SignalCatcher]:
    """Catches SIGTERM and SIGINT while a block runs in the main thread.

    In other threads, where TFX may run a node, Python does not allow handlers to be set, and
    nothing is caught.
    """
    catcher = SignalCatcher()
    if threading.current_thread() is not threading.main_thread():
        yield catcher
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    old_handlers = [signal.signal(number, catcher) for number in numbers]
    try:
        yield catcher
    finally:
        for number, handler in zip(numbers, old_handlers, strict=True):
            signal.signal(number, handler)
