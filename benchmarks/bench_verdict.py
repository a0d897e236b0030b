"""Is real music blessed, and is every control refused? Three seeds on every collection.

    .venv/bin/python benchmarks/bench_verdict.py [--audio FOLDER ...] [--seeds 3] [--steps 320]

Collections: the demo's corpus, generated pads, drums, speech (if espeak-ng is there), one long
recording, a collection of three minutes, and every folder given. On each, the program prints the
verdict on: another half of the held-out passages, passed off as rollouts; passages of training
recordings; every control; models of 1 and 6 steps; and the default model. It exits with 1 unless
real music is blessed, every control and the models of 1 and 6 steps are refused, and the small
collections end in "cannot be judged". The default model's verdict is printed, whatever it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from audio.config import AudioConfig
from beam_transforms import prepare
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_sources
from generator.inference import Model, load_model
from pipeline.config.sections import EvaluateSettings
from pipeline.demo.corpus import render_corpus
from pipeline.evaluation import controls as control_sounds
from pipeline.evaluation import rollouts as rollout_sounds
from pipeline.evaluation import verdict as verdicts
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.next_frame_figures import next_frame_figures
from pipeline.evaluation.rollout_figures import describe_rollouts, place_rollouts
from pipeline.evaluation.rollouts import Clips, RolloutSet, make_rollouts
from storage.dataset_files import read_recordings
from trainer.data.windows import Dataset, open_dataset
from trainer.fit.train import train
from trainer.settings import TrainSettings

RATE = 22050
SETTINGS = EvaluateSettings()
Float64 = npt.NDArray[np.float64]
_WORDS = (
    "night music turns slowly over quiet water while seven small engines count the stars "
    "and nobody remembers which window was left open for the morning train"
)


def main() -> int:
    """Prints the table of every collection; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audio", action="append", default=[], help="a folder of recordings")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of 1 and of 6 steps")
    parser.add_argument("--steps", type=int, default=TrainSettings().steps)
    parser.add_argument("--only", help="comma-separated names of generated collections; or none")
    options = parser.parse_args()
    # The same real passages and controls are judged with every seed: they are measured once.
    measure = _remember(rollout_sounds.measure_clips)
    rollout_sounds.measure_clips = control_sounds.measure_clips = measure
    mistakes: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for name, music, expected in _collections(folder, options.audio, options.only):
            mistakes += _judge_collection(name, music, expected, folder / "work", options)
            shutil.rmtree(folder / "work", ignore_errors=True)
    print("\n" + "\n".join([f"MISTAKE: {text}" for text in mistakes] or ["no mistake"]))
    return int(bool(mistakes))


def _remember(measure: Callable[..., Clips]) -> Callable[..., Clips]:
    """Returns a function that keeps its results, by the content of the frames."""
    known: dict[bytes, Clips] = {}

    def measure_once(frames: npt.NDArray[np.float32], *arguments: Any) -> Clips:
        key = hashlib.sha256(frames.tobytes() + repr(arguments).encode()).digest()
        if key not in known:
            known[key] = measure(frames, *arguments)
        return known[key]

    return measure_once


def _collections(
    folder: pathlib.Path, given: list[str], only: str | None
) -> Iterator[tuple[str, str, bool]]:
    """Yields the name of each collection, its folder, and whether it can be judged."""
    makers: dict[str, tuple[Callable[[pathlib.Path], None], bool]] = {
        "demo": (_render_demo, True),
        "pads": (lambda path: _write(path, _pad, 12, 40), True),
        "drums": (lambda path: _write(path, _drums, 12, 40), True),
        "speech": (_speak, True),
        "one long recording": (lambda path: _write(path, _pad, 1, 480), False),
        "three minutes": (lambda path: _write(path, _pad, 6, 30), False),
    }
    wanted = list(makers) if only is None else [name for name in only.split(",") if name in makers]
    for name in wanted:
        make, can_be_judged = makers[name]
        path = folder / name.replace(" ", "-")
        path.mkdir()
        make(path)
        if any(path.iterdir()):
            yield name, str(path), can_be_judged
        else:
            print(f"{name}: skipped, espeak-ng is not installed")
    for path_name in given:
        yield path_name, path_name, True


def _judge_collection(
    name: str, music: str, can_be_judged: bool, work: pathlib.Path, options: argparse.Namespace
) -> list[str]:
    """Prints the verdicts on one collection, and returns those that are wrong."""
    prepare.run(
        sources=find_sources([music]),
        output=str(work / "dataset"),
        audio=AudioConfig(),
        settings=PrepareSettings(eval_share=0.25),
    )
    dataset = open_dataset(str(work / "dataset"))
    print(f"\n== {name}")
    mistakes = []
    for seed in range(options.seeds):
        # The default model is only printed, so it is trained once.
        for steps in (6, 1, *([options.steps] if seed == 0 else [])):
            path = work / f"model-{seed}-{steps}"
            train(
                dataset_path=dataset.path,
                model_path=str(path),
                settings=TrainSettings(steps=steps, eval_every=min(steps, 80), seed=seed),
            )
            if not can_be_judged:
                verdict = evaluate(str(path), dataset.path, SETTINGS)
                _print(f"model of {steps} steps", seed, verdict)
                if verdict.outcome != verdicts.CANNOT_BE_JUDGED:
                    mistakes.append(f"{name}, seed {seed}: {verdict.outcome}")
                continue
            model = load_model(str(path))
            errors = next_frame_figures(model, dataset)
            rollout_set = make_rollouts(
                model,
                dataset,
                rollouts=SETTINGS.rollouts,
                seconds=SETTINGS.rollout_seconds,
                seed=seed,
            )
            controls = control_sounds.measure_controls(model, dataset, rollout_set)
            if steps == 6:
                mistakes += _judge_sounds(name, seed, model, dataset, rollout_set, controls)
            verdict = verdicts.judge(_figures(errors, dataset, rollout_set, controls), SETTINGS)
            _print(f"model of {steps} steps", seed, verdict)
            if steps in (1, 6) and verdict.outcome != verdicts.REFUSED:
                mistakes.append(f"{name}, seed {seed}: the model of {steps} steps is not refused")
    return mistakes


def _judge_sounds(
    name: str,
    seed: int,
    model: Model,
    dataset: Dataset,
    rollout_set: RolloutSet,
    controls: control_sounds.MeasuredControls,
) -> list[str]:
    """Judges real music and every control as if they were a model's rollouts."""
    mistakes = []
    half = dataclasses.replace(
        rollout_set,
        rollouts=rollout_set.same_recording,
        # The other half is the reference; it must not contain what it is compared with.
        same_recording=rollout_set.continuations,
        second_seed=_part(rollout_set.continuations, rollout_set.second_seed_of),
    )
    sounds: dict[str, tuple[RolloutSet, str | None]] = {"held-out music": (half, verdicts.BLESSED)}
    sounds["training music"] = (
        dataclasses.replace(rollout_set, rollouts=rollout_set.training_passages),
        None,
    )
    for control in control_sounds.make_controls(model, dataset, rollout_set):
        clips = rollout_sounds.measure_clips(
            control.frames, dataset.audio, rollout_set.continuations.recordings
        )
        sounds[control.name] = (dataclasses.replace(rollout_set, rollouts=clips), verdicts.REFUSED)
    for sound, (passed_off, wanted) in sounds.items():
        # These sounds predict nothing, so they have no errors of the next frame.
        figures = _figures({"mse_ratio": None, "nll": None}, dataset, passed_off, controls)
        verdict = verdicts.judge(figures, SETTINGS)
        _print(sound, seed, verdict)
        if wanted is not None and verdict.outcome != wanted:
            mistakes.append(f"{name}, seed {seed}: {sound} is {verdict.outcome}")
    return mistakes


def _part(clips: Clips, indices: tuple[int, ...]) -> Clips:
    rows = list(indices)
    return Clips(
        frames=clips.frames[rows],
        through_vocoder=clips.through_vocoder[rows],
        figures=clips.figures[rows],
        recordings=tuple(clips.recordings[row] for row in rows),
    )


def _figures(
    errors: dict[str, Any],
    dataset: Dataset,
    rollout_set: RolloutSet,
    controls: control_sounds.MeasuredControls,
) -> dict[str, Any]:
    rows = list(read_recordings(dataset.path, "eval"))
    described, _ = describe_rollouts(rollout_set, dataset)
    return {
        "held_out": {
            "recordings": len(rows),
            "seconds": sum(row["duration_seconds"] for row in rows),
        },
        **errors,
        **described,
        **place_rollouts(rollout_set, controls.clips),
        "untrained_nll": controls.untrained_nll,
    }


def _print(sound: str, seed: int, verdict: verdicts.Verdict) -> None:
    scores = [score for score in verdict.figures.get("scores", {}).values() if score["figures"]]
    lowest = min(scores, key=lambda score: score["score"], default=None)
    text = "" if lowest is None else f"{lowest['score']:6.2f} ({lowest['interval'][0]:.2f})"
    failed = [reason[6:70] for reason in verdict.reasons if reason.startswith("FAIL")]
    print(f"  seed {seed}  {sound:<26}{verdict.outcome:<18}{text:<16}{'; '.join(failed[:2])}")
    sys.stdout.flush()


def _render_demo(folder: pathlib.Path) -> None:
    render_corpus(folder)


def _write(
    folder: pathlib.Path,
    make: Callable[[np.random.Generator, int], Float64],
    count: int,
    seconds: int,
) -> None:
    for index in range(count):
        samples = make(np.random.default_rng(index), seconds)
        samples = 0.3 * samples / np.abs(samples).max()
        soundfile.write(folder / f"{index:02d}.flac", samples, RATE)


def _pad(rng: np.random.Generator, seconds: int) -> Float64:
    """Slow chords of detuned strings without attacks: a chord every 2 to 4 s, overlapping."""
    time = np.arange(seconds * RATE) / RATE
    wave = np.zeros(len(time))
    root, start = int(rng.integers(45, 57)), 0.0
    while start < seconds:
        length = float(rng.uniform(2, 4))
        sounding = slice(max(0, int((start - 1) * RATE)), int((start + length + 1) * RATE))
        now = time[sounding]
        envelope = np.clip(np.minimum(now - start + 1, start + length + 1 - now), 0, 1)
        step = int(rng.choice([0, 3, 5, 7, 8]))
        for interval in (0, int(rng.choice([3, 4])), 7, 12):
            hertz = 440 * 2 ** ((root + step + interval - 69) / 12)
            for detune in (-0.8, 0.0, 0.9):
                for partial in range(1, 7):
                    phase = rng.uniform(0, 2 * np.pi)
                    angle = 2 * np.pi * (hertz + detune) * partial * now + phase
                    wave[sounding] += envelope * np.sin(angle) / partial**1.5
        start += length
    return wave + 0.002 * rng.normal(size=len(wave))


def _drums(rng: np.random.Generator, seconds: int) -> Float64:
    """A bar of kick, snare and hi-hat that varies a little, at a tempo of its own."""
    wave = np.zeros(seconds * RATE + RATE)
    beat = 60 / float(rng.uniform(90, 140))
    time = np.arange(int(0.3 * RATE)) / RATE
    kick = np.sin(2 * np.pi * (50 + 80 * np.exp(-time / 0.03)) * time) * np.exp(-time / 0.12)
    snare = 0.6 * np.sin(2 * np.pi * 190 * time) * np.exp(-time / 0.06)
    for index in range(int(seconds / beat * 2)):
        at = int(index * beat / 2 * RATE)
        noise = rng.normal(size=len(time))
        hit = 0.25 * noise * np.exp(-time / 0.02)
        if index % 8 in (0, 5) or (index % 8 == 3 and rng.random() < 0.3):
            hit = hit + kick
        if index % 8 in (2, 6):
            hit = hit + snare + 0.7 * noise * np.exp(-time / 0.09)
        wave[at : at + len(time)] += hit
    return wave[: seconds * RATE]


def _speak(folder: pathlib.Path) -> None:
    """Sentences by espeak-ng, a voice and a speed of its own for each recording."""
    program = shutil.which("espeak-ng")
    if program is None:
        return
    words = _WORDS.split()
    for index in range(12):
        rng = np.random.default_rng(index)
        text = ". ".join(" ".join(rng.choice(words, 9)) for _ in range(14))
        voice = ("en", "en-us", "de", "fr")[index % 4]
        subprocess.run(
            [program, "-v", voice, "-s", str(130 + 6 * index), "-p", str(30 + 4 * index),
             "-w", str(folder / f"{index:02d}.wav"), text],
            check=True,
        )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
