"""Signals that end a training: caught between two steps, so that its state can be saved whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from audio.errors import NocturneError


class PreemptedError(NocturneError):
    """The machine wants its cores back; the same command goes on later."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again


class Interrupts:
    """What has come in so far.

    Attributes:
      received: the signal's number, None so far.
    """

    received: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Notes a signal; a second Ctrl-C is not waited for."""
        del frame
        if number == signal.SIGINT and self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def raise_for(self, said: str) -> None:
        """Ends the run as the signal wants.

        Raises:
          PreemptedError: for SIGTERM, with what is said.
          KeyboardInterrupt: for Ctrl-C.
        """
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise PreemptedError(said)


@contextmanager
def catch_signals() -> Iterator[Interrupts]:
    """Holds back SIGTERM and SIGINT while a block runs; elsewhere than in the main thread, nothing.

    TFX may run a node in a thread, where Python does not let handlers be set.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, interrupts) for number in numbers]
    try:
        yield interrupts
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
