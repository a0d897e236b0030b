"""Compares the Beam job with one and with two worker processes, and its memory for many files.

Beam's worker processes listen on all interfaces, so each job runs in a network namespace of its
own (Linux, `unshare`).
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile

import harness

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Total duration of the recordings.
HOURS = 8.0
# Numbers of small files of the two jobs whose memory is compared.
FEW = 500
MANY = 10_000
# Number of recordings that are planned.
A_MILLION = 1_000_000

_LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket() as sock:
    fcntl.ioctl(sock, 0x8914, struct.pack("16sh", b"lo", 0x41))  # SIOCSIFFLAGS: up, running
os.execv(sys.argv[1], sys.argv[1:])
"""

_JOB = """
import sys
from audio.config import AudioConfig
from beam_transforms import prepare
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_sources
if __name__ == "__main__":
    folder, output, *beam_args = sys.argv[1:]
    prepare.run(sources=find_sources([folder]), output=output, audio=AudioConfig(),
                settings=PrepareSettings(), beam_args=beam_args)
    print(int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) / 1000)
"""


def main() -> None:
    options = harness.argument_parser(__doc__).parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as base:
        links, start = pathlib.Path(base, "links"), pathlib.Path(base, "start")
        for folder in (links, start):
            folder.mkdir()
        _, seconds = harness.link_recordings(options.audio, links, hours=HOURS)
        harness.link_recordings(options.audio, start, hours=0.01)
        medians = harness.time_in_turn(
            {
                (folder.name, n): lambda folder=folder, n=n: _job(folder, base, workers=n)
                for folder in (start, links)
                for n in (1, 2)
            },
            rounds=options.rounds,
            clock=harness.wall_time,
        )
        print(f"{seconds / 3600:.1f} hours on {cores} cores, in worker processes")
        rows = [
            [n, medians["start", n], medians["links", n], seconds / medians["links", n]]
            for n in (1, 2)
        ]
        header = ["workers", "seconds for one file", "seconds for all", "times real time"]
        harness.print_table(header, rows)
        one, two = (medians["links", n] - medians["start", n] for n in (1, 2))
        print(f"without start-up, two workers are {one / two:.2f} times as fast as one")
        few, many = (_memory(base, count) for count in (FEW, MANY))
        print(f"peak memory: {few:.0f} MB for {FEW} small files, {many:.0f} MB for {MANY}")
    cpu, gigabytes, shards = harness.run_in_process(_plan)
    print(f"planning {A_MILLION} recordings: {cpu:.0f} s, {gigabytes:.1f} GB, {shards} shards")
    harness.check_bars(
        [
            ("prepare_two_workers", medians["links", 1] / medians["links", 2], "one worker", 1.6),
            ("prepare_many_files", 100 / max(many - few, 1), "100 MB for ten thousand files", 1.0),
        ]
    )


def _job(folder: pathlib.Path, base: str, *, workers: int) -> None:
    mode = ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    _run(folder, base, mode)


def _memory(base: str, count: int) -> float:
    """Returns the peak memory, MB, of a job in one process with `count` files of one second."""
    import numpy as np
    import soundfile

    folder = pathlib.Path(base, f"small-{count}")
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        samples = rng.normal(0, 0.1, 24_000).astype(np.float32)
        soundfile.write(folder / f"{index}.wav", samples, 22050)
    return float(_run(folder, base, []))


def _run(folder: pathlib.Path, base: str, mode: list[str]) -> str:
    script = pathlib.Path(base, "job.py")
    script.write_text(_JOB)
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    # Beam starts workers as `python`, so this environment must be first in PATH.
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(dir=base) as output:
        process = subprocess.run(
            ["unshare", *user, "--net", sys.executable, "-c", _LOOPBACK_UP, sys.executable,
             str(script), str(folder), f"{output}/dataset", "--runner=FnApiRunner", *mode],
            cwd=ROOT, env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if process.returncode:
        raise SystemExit(process.stderr[-2000:])
    return process.stdout


def _plan() -> tuple[float, float, int]:
    """Returns the CPU seconds and the peak memory, GB, of a plan, and its number of shards."""
    from beam_transforms.plan import Outcome, plan_dataset
    from beam_transforms.settings import PrepareSettings

    def outcome(index: int) -> Outcome:
        digits = hashlib.sha256(str(index).encode()).hexdigest()
        uri = f"gs://bucket/music/{index:07d}.ogg"
        return Outcome(uri, 4_000_000, digits[:32], digits, 2_650_000, None)

    outcomes = [outcome(index) for index in range(A_MILLION)]
    started = harness.cpu_time()
    plan = plan_dataset(outcomes, settings=PrepareSettings())
    return harness.cpu_time() - started, harness.peak_memory_mb() / 1000, len(plan.shards)


if __name__ == "__main__":
    main()
