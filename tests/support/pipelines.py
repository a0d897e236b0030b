"""The smallest runs of both TFX pipelines that are still real."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

from tests.support import signals
from tests.support.nocturne_process import forking_nocturne

TINY = [
    "audio.n_mels=32",
    "prepare.chunk_frames=200",
    "prepare.eval_share=0.34",
    "train.head=mse",
    "train.units=16",
    "train.window_frames=64",
    "train.batch_windows=4",
    "train.steps=30",
    "train.eval_every=15",
    "train.primer_frames=16",
    "evaluate.rollouts=2",
    "evaluate.rollout_seconds=1",
    # Six recordings of 6 s are too few to judge a model by.
    "evaluate.accept_unjudged=true",
]
TRAINING_NODES = [
    "AudioExampleGen",
    "Schema",
    "StatisticsGen",
    "Transform",
    "ExampleValidator",
    "Trainer",
    "Evaluator",
    "Pusher",
]
GENERATION_NODES = ["LatestBlessedModel", "BatchGenerator"]


def write_music(folder: pathlib.Path) -> None:
    """Writes six short recordings."""
    for index in range(6):
        signals.write(folder / f"{index}.flac", signals.tune(seconds=6, seed=index))


def flags(*overrides: str) -> list[str]:
    """Returns command line options for settings; later ones win."""
    return [part for override in overrides for part in ("--set", override)]


def start(*args: object, cwd: pathlib.Path, **environment: str) -> subprocess.Popen[str]:
    """Starts a command in a process of its own, which does not load TFX again."""
    return subprocess.Popen(
        [str(forking_nocturne()), *map(str, args)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int | None = 0) -> str:
    """Waits for a process; returns its output. It must exit with a code, unless that is None."""
    try:
        stdout, stderr = process.communicate(timeout=1200)
    finally:
        process.kill()
    assert code in (None, process.returncode), stdout + stderr
    return stdout if process.returncode == 0 else stdout + stderr


def run(*args: object, cwd: pathlib.Path, code: int | None = 0) -> str:
    """Runs a command as `start` does and returns what `finish` does."""
    return finish(start(*args, cwd=cwd), code)


def outcomes(folder: pathlib.Path) -> dict[str, str]:
    """Returns the outcome of each node from the folder of a run."""
    nodes = json.loads((folder / "run.json").read_text())["nodes"]
    return {node["node"]: node["outcome"] for node in nodes}
