"""Damages sound files of every format and compares what is read of them with FFmpeg.

    make fuzz                                            ten minutes
    python benchmarks/fuzz_decoders.py --seconds 60 --first 5000
    python benchmarks/fuzz_decoders.py --only 1234       one case, with its file in build/fuzz

Each case follows from its number: the format, the sound, and what is done to its bytes. There must
be no crash, no hang, no error that does not tell the user what to do, and no silent loss: where
FFmpeg gets more sound out of a file, it must have been refused, or the length that is missing
must have been reported. Cases that once failed are in KEPT and are run first.

FFmpeg comes with the optional package av. Each case runs in another process, which is replaced when
it crashes or hangs.
"""

from __future__ import annotations

import argparse
import collections
import io
import itertools
import multiprocessing
import os
import pathlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from audio.codec import AudioReader
from audio.decoders import has_pyav
from audio.errors import AudioError

# Formats of which files can be joined; it is the last of the damages.
_STREAMS = ("mp3", "mp2", "vorbis", "opus", "oggflac", "aac", "ac3")
# Numbers of cases that once failed.
KEPT = (16, 743, 1337, 1990, 4539, 6383, 21026, 53953)
_FOLDER = pathlib.Path("build/fuzz")
# Longest time for one case, seconds.
_LIMIT = 30.0
# Sound that may be missing without a word, seconds: a few frames of any codec. Where FFmpeg meets
# damage, it repeats or stretches frames.
_TOLERANCE = 0.15
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFF000, 0x7FFFFFFF, 0x80000000,
            0xFFFFFFDB, 0xFFFFFFFF)  # fmt: skip


class Case(NamedTuple):
    """What is read: the kind of file, what was done to it, and its bytes."""

    kind: str
    done: str
    content: bytes


class Outcome(NamedTuple):
    """What became of a case.

    Attributes:
      verdict: "read", "read with a loss" or "refused"; or a fault: "crash", "hang", "wrong error",
        "no message" or "silent loss".
      detail: The error, or the lengths.
    """

    verdict: str
    detail: str

    @property
    def is_fault(self) -> bool:
        """Whether this must not happen."""
        return self.verdict not in ("read", "read with a loss", "refused")


def make_case(number: int) -> Case:
    """Returns a case by its number."""
    from tests.support import sound_files

    rng = np.random.default_rng(number)
    kinds = [*sound_files.SNDFILE, *sound_files.FFMPEG]
    kind = kinds[rng.integers(len(kinds))]
    content = bytearray(_whole_file(kind, int(rng.integers(3))))
    done = []
    for _ in range(rng.integers(1, 4)):
        name, damage = _DAMAGES[rng.integers(len(_DAMAGES) - (kind not in _STREAMS))]
        damage(content, rng)
        done.append(name)
    return Case(kind, " + ".join(done), bytes(content))


_files: dict[tuple[str, int], bytes] = {}


def _whole_file(kind: str, seed: int) -> bytes:
    from tests.support import sound_files

    if (kind, seed) not in _files:
        samples = sound_files.tune(2 + seed, seed=seed)
        if seed == 1 and kind != "svx":  # which is mono
            samples = np.stack([samples, samples[::-1]], axis=1)
        _files[kind, seed] = sound_files.make(kind, samples)
    return _files[kind, seed]


def _place(content: bytearray, rng: np.random.Generator) -> int:
    """Returns a position, half of the time in the headers."""
    if not content:
        return 0
    return int(rng.integers(min(len(content), 128) if rng.random() < 0.5 else len(content)))


def _flip(content: bytearray, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 5)):
        if content:
            content[_place(content, rng)] ^= 1 << rng.integers(8)


def _write_number(content: bytearray, rng: np.random.Generator) -> None:
    at, n_bytes = _place(content, rng), int(rng.choice([1, 2, 4, 8]))
    number = _NUMBERS[rng.integers(len(_NUMBERS))] % (1 << 8 * n_bytes)
    content[at : at + n_bytes] = number.to_bytes(n_bytes, "little" if rng.random() < 0.5 else "big")


def _overwrite(content: bytearray, rng: np.random.Generator) -> None:
    at = _place(content, rng)
    n_bytes = min(int(rng.choice([1, 16, 400, 5000])), len(content) - at)
    noise = rng.integers(0, 256, n_bytes, np.uint8).tobytes()
    content[at : at + n_bytes] = bytes(n_bytes) if rng.random() < 0.5 else noise


def _remove(content: bytearray, rng: np.random.Generator) -> None:
    at = _place(content, rng)
    del content[at : at + int(rng.choice([1, 16, 400, 5000]))]


def _insert(content: bytearray, rng: np.random.Generator) -> None:
    n_bytes = int(rng.choice([1, 16, 400, 5000]))
    at = _place(content, rng)
    content[at:at] = rng.integers(0, 256, n_bytes, np.uint8).tobytes()


def _cut(content: bytearray, rng: np.random.Generator) -> None:
    del content[int(len(content) * rng.random()) :]


def _join(content: bytearray, _: np.random.Generator) -> None:
    content += bytes(content)


def _tag(content: bytearray, _: np.random.Generator) -> None:
    content[:0] = b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257)


_DAMAGES = (
    ("flipped bits", _flip), ("a number", _write_number), ("overwritten", _overwrite),
    ("removed", _remove), ("inserted", _insert), ("cut", _cut), ("a tag", _tag), ("joined", _join),
)  # fmt: skip


def read(content: bytes) -> tuple[int, int, float]:
    """Returns a file's number of samples, its rate, and the length of what is missing, seconds."""
    reader = AudioReader(io.BytesIO(content), max_lost_share=1, max_seconds=_LIMIT)
    n_samples = sum(len(block) for block in reader.mono_blocks("left"))
    return n_samples, reader.sample_rate, reader.lost_seconds


def judge(content: bytes) -> Outcome:
    """Reads a file here and with FFmpeg, and returns what became of it."""
    from tests.support.sound_files import ffmpeg_length

    try:
        n_samples, sample_rate, lost = read(content)
    except AudioError as error:
        return Outcome("refused" if str(error) else "no message", f"{error} {error.remedy}")
    except Exception as error:  # what must not come out of here, whatever it is
        return Outcome("wrong error", repr(error))
    true_samples, true_rate = ffmpeg_length(content)
    seconds, truth = n_samples / sample_rate, true_samples / true_rate
    detail = f"{seconds:.3f} s, missing {lost:.3f} s, FFmpeg {truth:.3f} s"
    # A rate may be in several headers, of which some were changed.
    fewer = true_samples - n_samples > (lost + _TOLERANCE) * true_rate
    if fewer and truth - seconds > lost + _TOLERANCE:
        return Outcome("silent loss", detail)
    return Outcome("read with a loss" if lost else "read", detail)


def _work(connection: Any) -> None:
    """Judges the cases whose numbers it receives, in a process of its own."""
    import av

    av.logging.set_level(None)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libmpg123 complains there
    while (number := connection.recv()) is not None:
        connection.send(judge(make_case(number).content))


class Worker:
    """A process that judges cases."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other,), daemon=True)
        self._process.start()
        other.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid or 0

    def judge(self, number: int, limit: float = _LIMIT) -> Outcome:
        """Returns the outcome of a case. After a crash or a hang, this worker cannot go on."""
        try:
            self._connection.send(number)
            if self._connection.poll(limit + 30):  # its first case takes as long as its imports
                outcome: Outcome = self._connection.recv()
                return outcome
        except (EOFError, OSError):
            self._process.join()
            return Outcome("crash", f"exit code {self._process.exitcode}")
        return Outcome("hang", f"more than {limit:g} s")

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()


def run(numbers: Iterable[int], *, seconds: float) -> Iterator[tuple[int, Outcome]]:
    """Yields cases with their outcomes for some time."""
    end = time.monotonic() + seconds
    worker = Worker()
    try:
        for number in numbers:
            if time.monotonic() > end:
                return
            outcome = worker.judge(number)
            if outcome.verdict in ("crash", "hang"):
                worker.stop()
                worker = Worker()
            yield number, outcome
    finally:
        worker.stop()


def main(argv: list[str] | None = None) -> int:
    """Runs cases for a time, and returns 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", type=int, help="number of the only case; its file is kept")
    arguments = parser.parse_args(argv)
    if not has_pyav():
        print("FFmpeg is missing, which tells the true lengths: run `pip install av`.")
        return 2
    numbers = [arguments.only] if arguments.only is not None else _all_numbers(arguments.first)
    counts: collections.Counter[str] = collections.Counter()
    faults = 0
    for number, outcome in run(numbers, seconds=arguments.seconds):
        counts[outcome.verdict] += 1
        faults += outcome.is_fault
        if outcome.is_fault or arguments.only is not None:
            case = make_case(number)
            path = _FOLDER / f"{number}-{case.kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(case.content)
            what = f"{number} {case.kind}, {case.done}"
            print(f"{what}: {outcome.verdict}, {outcome.detail} ({path})", flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    return int(bool(faults))


def _all_numbers(first: int) -> Iterable[int]:
    return itertools.chain(KEPT, itertools.count(first))


if __name__ == "__main__":
    sys.exit(main())
