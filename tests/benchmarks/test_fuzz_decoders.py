"""A short portion of `make fuzz`, and that it would tell of faults."""

from __future__ import annotations

import itertools
import os
import signal
import struct

import pytest

from audio.errors import AudioError
from benchmarks import fuzz_decoders
from benchmarks.fuzz_decoders import KEPT, judge, make_case, run
from tests.support import sound_files


@pytest.mark.slow
def test_damaged_files_are_read_refused_or_reported() -> None:
    faults = {
        number: outcome
        for number, outcome in run(itertools.chain(KEPT, itertools.count(10**6)), seconds=20)
        if outcome.is_fault
    }
    assert faults == {}


def test_a_case_follows_from_its_number() -> None:
    assert make_case(7) == make_case(7)
    assert len({make_case(number).content for number in range(20)}) == 20


def test_outcomes_tell_faults_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sound_files.make("wav", sound_files.tune(2))
    assert judge(whole).verdict == "read"
    assert judge(whole[:100_000]).verdict == "read with a loss"
    assert judge(b"text").verdict == "refused"

    def no_remedy(_: bytes) -> None:
        raise AudioError("")

    for read, verdict in (
        (lambda _: (48_000, 48_000, 0.0), "silent loss"),
        (lambda _: (48_000, 48_000, 1.0), "read with a loss"),
        (lambda _: struct.unpack("<I", b""), "wrong error"),
        (no_remedy, "no message"),
    ):
        monkeypatch.setattr(fuzz_decoders, "read", read)
        assert judge(whole).verdict == verdict


def test_a_worker_that_dies_is_a_crash() -> None:
    worker = fuzz_decoders.Worker()
    os.kill(worker.pid, signal.SIGSEGV)
    assert worker.judge(0).verdict == "crash"
    worker.stop()
