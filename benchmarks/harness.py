"""What the benchmark programs share: real audio, timing in turn, ratios and exit codes.

Programs run us and the peer in turn, in one process, and print ratios of medians: machines are
shared and noisy, and only the ratio means something.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time
import typing
from collections.abc import Callable, Mapping, Sequence

# One core, said before numerical libraries start their threads.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
Name = typing.TypeVar("Name")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser with the options that every program has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--audio", help="a folder of recordings; the demo corpus where none is given")
    made.add_argument("--rounds", type=int, default=5, help="times each peer runs")
    return made


def one_core() -> None:
    """Keeps this process on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def recordings(folder: str | None) -> list[pathlib.Path]:
    """Returns the recordings of a folder, or of a rendered corpus as Ogg Vorbis."""
    if folder:
        return sorted(p for p in pathlib.Path(folder).rglob("*") if p.suffix in (".ogg", ".flac"))
    import soundfile

    from pipeline.demo.corpus import render_corpus

    base = pathlib.Path(tempfile.gettempdir()) / "nocturne-bench"
    made = []
    for path in render_corpus(base / "flac"):
        vorbis = path.with_suffix(".ogg")
        if not vorbis.exists():
            samples, rate = soundfile.read(path, dtype="float32")
            with soundfile.SoundFile(vorbis, "w", rate, samples.shape[1], format="OGG") as file:
                # libsndfile's Vorbis writer fails on a whole minute at once.
                for start in range(0, len(samples), rate):
                    file.write(samples[start : start + rate])
        made.append(vorbis)
    return made


def an_hour(
    folder: str | None, links: pathlib.Path, *, hours: float = 1.0
) -> tuple[list[pathlib.Path], float]:
    """Returns recordings of at least an hour in all, and how many seconds they are.

    Those of a folder are taken again under other names until they are enough.
    """
    import itertools

    import soundfile

    made, seconds = [], 0.0
    for index, path in enumerate(itertools.cycle(recordings(folder))):
        link = links / f"{index:05d}{path.suffix}"
        link.symlink_to(path)
        made.append(link)
        seconds += soundfile.info(str(path)).duration
        if seconds >= 3600 * hours:
            return made, seconds
    raise SystemExit("no recordings")


def in_turn(
    peers: Mapping[Name, Callable[[], object]], *, rounds: int, clock: Callable[[], float]
) -> dict[Name, float]:
    """Runs every peer once to warm up, then all in turn; returns median seconds of each."""
    for run in peers.values():
        run()
    seconds: dict[Name, list[float]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, run in peers.items():
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return {name: statistics.median(each) for name, each in seconds.items()}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints rows under a header."""
    text = [[f"{c:.3g}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *text]) for i in range(len(header))]
    for row in [list(header), *text]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


def report(bars: Sequence[tuple[str, float, str, float]]) -> None:
    """Prints one line a bar (name, value, peer, bar) and exits with 1 where one is missed."""
    for name, value, peer, bar in bars:
        print(f"RATIO {name} {value:.3g} against {peer} (bar {bar:g})")
    sys.exit(0 if all(value >= bar for _, value, _, bar in bars) else 1)


cpu_time = time.process_time
wall_time = time.perf_counter
