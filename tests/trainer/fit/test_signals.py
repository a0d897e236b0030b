"""Signals are caught during a block, and passed on as errors at its end."""

from __future__ import annotations

import signal
import threading

import pytest

from trainer.fit.signals import PreemptedError, SignalCatcher, catch_signals


def test_catch_signals_remembers_sigterm_and_restores_handlers() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with catch_signals() as signals:
        assert signals.received is None
        signals.raise_if_received("nothing came")
        signal.raise_signal(signal.SIGTERM)
        assert signals.received == signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    with pytest.raises(PreemptedError, match="stopped at step 3") as error:
        signals.raise_if_received("stopped at step 3")
    assert error.value.exit_code == 75


def test_catch_signals_second_ctrl_c_ends_the_block() -> None:
    with catch_signals() as signals:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signals.raise_if_received("stopped")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_catch_signals_does_nothing_in_another_thread() -> None:
    handlers: list[object] = []

    def run() -> None:
        with catch_signals():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not isinstance(handlers[0], SignalCatcher)
