"""Functions that all benchmark programs share: recordings, timing, tables and exit codes.

A program runs Nocturne and its peers in turn, in one process, and prints ratios of medians:
machines are shared and noisy, so only ratios mean something.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import multiprocessing
import os
import pathlib
import statistics
import sys
import tempfile
import time
import typing
from collections.abc import Callable, Mapping, Sequence

# Numerical libraries read these when they are imported, which is after this module.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

Name = typing.TypeVar("Name")
Result = typing.TypeVar("Result")

cpu_time = time.process_time
wall_time = time.perf_counter


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser with the options that every program has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--audio", help="folder of recordings (default: the demo's corpus)")
    parser.add_argument("--rounds", type=int, default=5, help="number of times each peer runs")
    return parser


def use_one_core() -> None:
    """Restricts this process to one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def run_in_process(function: Callable[..., Result], *args: object) -> Result:
    """Returns the result of a call in a fresh process, whose peak memory starts at nothing."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


def peak_memory_mb() -> float:
    """Returns the peak memory of this process so far, MB."""
    # Not ru_maxrss, which a process inherits from its parent.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def find_recordings(folder: str | None) -> list[pathlib.Path]:
    """Returns the recordings of a folder; without one, the demo's corpus as Ogg Vorbis."""
    if folder:
        return sorted(p for p in pathlib.Path(folder).rglob("*") if p.suffix in (".ogg", ".flac"))
    import soundfile

    from pipeline.demo.corpus import render_corpus

    paths = []
    for flac in render_corpus(pathlib.Path(tempfile.gettempdir()) / "nocturne-bench" / "flac"):
        vorbis = flac.with_suffix(".ogg")
        if not vorbis.exists():
            samples, rate = soundfile.read(flac, dtype="float32")
            with soundfile.SoundFile(vorbis, "w", rate, samples.shape[1], format="OGG") as file:
                # libsndfile's Vorbis encoder crashes on a minute of samples at once.
                for start in range(0, len(samples), rate):
                    file.write(samples[start : start + rate])
        paths.append(vorbis)
    return paths


def link_recordings(
    folder: str | None, links: pathlib.Path, *, hours: float = 1.0
) -> tuple[list[pathlib.Path], float]:
    """Links recordings into the folder `links`, again and again, until they have enough hours.

    Returns:
      The links, and the total duration in seconds.
    """
    import soundfile

    paths, seconds = [], 0.0
    for index, path in enumerate(itertools.cycle(find_recordings(folder))):
        link = links / f"{index:05d}{path.suffix}"
        link.symlink_to(path)
        paths.append(link)
        seconds += soundfile.info(str(path)).duration
        if seconds >= 3600 * hours:
            return paths, seconds
    raise SystemExit(f"wanted recordings, got none in {folder}. Give another --audio.")


def time_in_turn(
    peers: Mapping[Name, Callable[[], object]], *, rounds: int, clock: Callable[[], float]
) -> dict[Name, float]:
    """Runs all peers once to warm up, then in turn; returns the median seconds of each."""
    for run in peers.values():
        run()
    seconds: dict[Name, list[float]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, run in peers.items():
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints rows in columns under a header."""
    text = [[f"{c:.3g}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *text]) for i in range(len(header))]
    for row in [list(header), *text]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


def check_bars(bars: Sequence[tuple[str, float, str, float]]) -> typing.NoReturn:
    """Prints a line for each bar (name, value, peer, bar); exits with 1 if a value is below it."""
    for name, value, peer, bar in bars:
        print(f"RATIO {name} {value:.3g} against {peer} (bar {bar:g})")
    sys.exit(0 if all(value >= bar for _, value, _, bar in bars) else 1)
