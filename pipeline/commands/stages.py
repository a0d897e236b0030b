"""prepare, train, evaluate and generate by themselves, without TFX."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import glob
import pathlib
import time
from typing import TYPE_CHECKING, Any

from audio import contract
from audio.errors import NotBlessedError, OutputExistsError, UsageError
from pipeline.config.load import Config
from pipeline.console.terminal import Console, PollingThread, StepRate
from storage import files
from storage.dataset_files import read_rejected, require_dataset

if TYPE_CHECKING:
    from pipeline.evaluation.verdict import Verdict


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputChoice:
    """Which files to prepare: those named and listed, or those of an earlier dataset.

    Raises:
      UsageError: neither or both were given.
    """

    inputs: tuple[str, ...] = ()
    input_list: str | None = None
    retry_rejected: str | None = None

    def __post_init__(self) -> None:
        if bool(self.inputs or self.input_list) == bool(self.retry_rejected):
            raise UsageError("wanted --input (or --input-list), or else --retry-rejected DATASET")

    def find(self) -> list[Any]:
        """Returns the sources."""
        from beam_transforms.sources import find_dataset_sources, find_sources, read_list

        if self.retry_rejected:
            return find_dataset_sources(self.retry_rejected)
        return find_sources(
            [*self.inputs, *(read_list(self.input_list) if self.input_list else ())]
        )


def prepare(
    console: Console,
    choice: InputChoice,
    output: str,
    config: Config,
    *,
    previous: str | None = None,
    pictures: int = 0,
) -> dict[str, Any]:
    """Prepares a dataset, draws some of its recordings, and prints what became of the files."""
    from beam_transforms import prepare as job
    from beam_transforms import staging

    started = time.monotonic()
    with console.stage("find files") as stage:
        sources = choice.find()
        stage.outcome = f"{len(sources)} files"
    try:
        with console.stage("prepare") as stage:

            def look() -> None:
                done = len(glob.glob(f"{glob.escape(output)}/{staging.FOLDER}/*.json"))
                stage.update(done, len(sources), "files")

            with PollingThread(look):
                info = job.run(
                    sources=sources,
                    output=output,
                    audio=config.audio,
                    settings=config.prepare,
                    effective_config=config.to_yaml(),
                    previous=previous,
                    beam_args=config.beam.prepare,
                )
    finally:
        print_rejected(console, output)
    seconds = time.monotonic() - started
    if pictures:
        from pipeline.spectrograms import draw_recordings

        with console.stage("draw") as stage:
            drawn = draw_recordings(output, pictures)
            stage.outcome = f"{len(drawn)} pictures"
    print_dataset(console, info, seconds)
    show_card(console, output)
    return info


def show_card(console: Console, dataset: str) -> dict[str, Any]:
    """Prints a finished dataset's card, and returns it.

    Raises:
      IncompleteError: the dataset is not finished.
    """
    from beam_transforms.card import format_card

    require_dataset(dataset)
    card: dict[str, Any] = files.read_json(files.join(dataset, contract.DATA_CARD))
    for line in format_card(card):
        console.line(line)
    return card


def print_rejected(console: Console, output: str) -> None:
    """Prints what a dataset could not use: counts by class, the first ten with reasons."""
    rows = [] if files.is_remote(output) else read_rejected(output)
    for kind, count in sorted(collections.Counter(row["error"] for row in rows).items()):
        console.line(f"  {kind}: {count} files")
    for row in [row for row in rows if row["error"] != "Duplicate"][:10]:
        console.line(f"    {row['uri']}: {row['message']}")
    if rows:
        console.line(f"  all of them, with reasons: {pathlib.Path(output, contract.REJECTED)}")


def print_dataset(console: Console, info: dict[str, Any], seconds: float) -> None:
    """Prints a dataset's summary."""
    for split, sums in info["splits"].items():
        console.line(
            f"  {split:<6} {sums['recordings']:6d} recordings  {sums['seconds'] / 3600:8.3f} hours"
            f"  {sums['records']:7d} records  {sums['bytes'] / 1e6:9.1f} MB"
        )
    total = sum(sums["seconds"] for sums in info["splits"].values())
    console.line(
        f"  dataset {info['dataset_id']}, front end {info['fingerprint']}: "
        f"{info['sources']} files, {info['rejected']} rejected, {info['duplicates']} duplicates, "
        f"{seconds:.1f} s ({total / seconds:.0f} times real time)"
    )


def train(console: Console, dataset: str, model: str, config: Config) -> dict[str, Any]:
    """Trains a model and prints its losses.

    Raises:
      UsageError: train.warm_start names no model.
      IncompleteError: the dataset is not finished.
    """
    if config.train.warm_start == "latest":
        raise UsageError(
            "train.warm_start=latest: only a pipeline knows which model was blessed last. Give a "
            "model's folder: --warm-start MODEL."
        )
    require_dataset(dataset)  # before TensorFlow is loaded, which takes seconds
    with console.stage("load TensorFlow"):
        from trainer.fit import train
    with console.stage("train") as stage:
        step_rate = StepRate()

        def show(done: int, total: int, loss: float) -> None:
            if step_rate.first is None and done > 1:
                console.line(f"  goes on after step {done - 1} of {total}")
            stage.update(done, total, f"loss {loss:.4f}  {step_rate.describe(done)}")

        info = train.train(
            dataset_path=dataset,
            model_path=model,
            settings=config.train,
            effective_config=config.to_yaml(),
            progress=show,
        )
    best = info["metrics"]
    held_out = f", held-out loss {best['eval_loss']:.4f}" if "eval_loss" in best else ""
    console.line(f"  model {info['model_id']} in {model}: {info['parameters']:,} parameters")
    console.line(f"  best at step {best['step']}: loss {best['loss']:.4f}{held_out}")
    history = files.read_json(files.join(model, contract.HISTORY))
    console.line(
        f"  {history['seconds']:.0f} s, {history['seconds_to_first_step']:.0f} s of them up to the "
        f"first step, {history['share_waiting_for_input']:.1%} waiting for input; look with "
        f"`tensorboard --logdir {model}/{contract.TENSORBOARD}`"
    )
    return info


def evaluate(
    console: Console,
    model: str,
    dataset: str,
    config: Config,
    *,
    output: str | None = None,
    against: str | None = None,
) -> Verdict:
    """Judges a model, prints the figures and the verdict, and writes them where that is asked.

    Raises:
      OutputExistsError: the output is there already.
    """
    if output and pathlib.Path(output).exists():
        raise OutputExistsError(
            f"{output} already exists, and an evaluation is not written over another. Choose "
            "another --output, or remove it."
        )
    with console.stage("load TensorFlow"):
        from pipeline.evaluation import evaluate
        from pipeline.evaluation.verdict import PICTURES, REPORT, format_table
    last_blessed = evaluate.read_verdict(against) if against else None
    with files.atomic_folder(output) if output else contextlib.nullcontext() as partial:
        folder = pathlib.Path(partial) if partial else None
        with console.stage("evaluate"):
            verdict = evaluate.evaluate(
                model,
                dataset,
                config.evaluate,
                last_blessed=last_blessed,
                pictures=folder / PICTURES if folder else None,
            )
        for line in [*format_table(verdict), *verdict.reasons]:
            console.line(f"  {line}")
        if folder:
            (folder / contract.EFFECTIVE_CONFIG).write_text(config.to_yaml())
            (folder / REPORT).write_text(verdict.to_json())
    if output:
        console.line(f"  written to {output}")
    return verdict


def require_passed(verdict: Verdict, model: str) -> None:
    """Ends a command where a model failed.

    Raises:
      NotBlessedError: it did.
    """
    if not verdict.blessed:
        raise NotBlessedError(f"{model} did not pass; the lines that say FAIL above are why.")


def generate(console: Console, model: str, output: str, config: Config) -> dict[str, Any]:
    """Generates clips and prints where they are."""
    if pathlib.Path(output, contract.COMPLETED).exists():
        raise OutputExistsError(
            f"{output} already holds a finished run. Choose another --output, or remove it."
        )
    with console.stage("load TensorFlow"):
        from generator import generate as job
    with console.stage("generate") as stage:

        def look() -> None:
            done = len(glob.glob(f"{glob.escape(output)}/{job.STAGING}/*.json"))
            stage.update(done, config.generate.clips, "clips")

        with PollingThread(look):
            manifest = job.run(
                model_path=model,
                output=output,
                settings=config.generate,
                effective_config=config.to_yaml(),
                beam_args=config.beam.generate,
            )
    print_clips(console, manifest, output)
    return manifest


def print_clips(console: Console, manifest: dict[str, Any], output: str) -> None:
    """Prints a run's clips."""
    for clip in manifest["clips"][:20]:
        again = len(clip["attempts"]) - 1
        console.line(
            f"  {output}/{clip['file']}  {clip['duration_seconds']:.1f} s  healthy"
            + (f" after {again} that were not" if again else ""),
            clip=clip["file"],
        )
    if len(manifest["clips"]) > 20:
        console.line(f"  ... {len(manifest['clips'])} in all: {output}/{contract.MANIFEST}")
    for entry in manifest["unhealthy"]:
        faults = ", ".join(entry["health"]["faults"])
        console.line(
            f"  clip {entry['index']} is left out: {faults}, in {len(entry['attempts'])} attempts",
            clip=entry["index"],
        )
