"""`prepare`, `card`, `train`, `evaluate` and `generate`: single stages, without TFX."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audio import contract
from audio.errors import OutputExistsError, UsageError
from pipeline.config.beam_options import check_beam_args
from pipeline.config.load import Config
from pipeline.console.terminal import Console, PollingThread, StepRate
from storage import faults, files
from storage.dataset_files import read_rejected, require_dataset
from storage.locks import exclusive

if TYPE_CHECKING:
    from beam_transforms.sources import FoundSources
    from pipeline.evaluation.verdict import Verdict


_CLIPS_SHOWN = 20  # clips that are printed; manifest.json lists all of them


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputChoice:
    """The files to prepare: either inputs and a list of inputs, or an earlier dataset's files.

    Raises:
      UsageError: Neither or both were given.
    """

    inputs: tuple[str, ...] = ()
    input_list: str | None = None
    retry_rejected: str | None = None

    def __post_init__(self) -> None:
        if bool(self.inputs or self.input_list) == bool(self.retry_rejected):
            raise UsageError(
                "wanted either --input (or --input-list) or --retry-rejected DATASET, got "
                + ("both" if self.retry_rejected else "neither")
            )

    def find(self) -> FoundSources:
        """Returns the audio files, and what was passed over."""
        from beam_transforms import sources

        if self.retry_rejected:
            return sources.FoundSources(sources.find_dataset_sources(self.retry_rejected), {})
        listed = sources.read_list(self.input_list) if self.input_list else ()
        for path in listed:
            files.check_path(path, f"--input-list {self.input_list}", pattern=True)
        return sources.scan_inputs([*self.inputs, *listed])


def prepare(
    console: Console,
    choice: InputChoice,
    output: str,
    config: Config,
    *,
    previous: str | None = None,
    pictures: int = 0,
) -> dict[str, Any]:
    """Prepares a dataset, draws some of its recordings, and prints a summary.

    Args:
      console: Shows the stages.
      choice: The files to prepare.
      output: Folder for the dataset, local or gs://.
      config: The configuration.
      previous: An earlier version of the dataset, whose unchanged files are not decoded again.
      pictures: Number of recordings to draw.

    Returns:
      The content of dataset_info.json.
    """
    from beam_transforms import prepare as job
    from beam_transforms import staging

    check_beam_args(config.beam.prepare, "beam.args")
    started = time.monotonic()
    with console.stage("find files") as stage:
        sources, passed_over = choice.find()
        stage.outcome = _count(len(sources), "file")
    print_passed_over(console, passed_over)
    try:
        with console.stage("prepare") as stage:

            def poll() -> None:
                stage.update(_count_json(f"{output}/{staging.FOLDER}"), len(sources), "files")

            with PollingThread(poll):
                info = job.run(
                    sources=sources,
                    output=output,
                    audio=config.audio,
                    settings=config.prepare,
                    effective_config=config.to_yaml(),
                    previous=previous,
                    passed_over=passed_over,
                    beam_args=config.beam.prepare,
                )
    finally:
        print_rejected(console, output)
    seconds = time.monotonic() - started
    if pictures:
        from pipeline.spectrograms import draw_recordings

        with console.stage("draw") as stage:
            stage.outcome = _count(len(draw_recordings(output, pictures)), "picture")
    print_dataset(console, info, seconds)
    show_card(console, output)
    return info


def show_card(console: Console, dataset: str) -> dict[str, Any]:
    """Prints and returns the data card of a dataset.

    Raises:
      IncompleteError: The dataset is not finished.
    """
    from beam_transforms.card import format_card

    require_dataset(dataset)
    card: dict[str, Any] = files.read_json(files.join(dataset, contract.DATA_CARD))
    for line in format_card(card):
        console.line(line)
    return card


def print_passed_over(console: Console, passed_over: Mapping[str, int]) -> None:
    """Prints what the inputs have beside audio files, by kind."""
    from beam_transforms.sources import format_passed_over

    if passed_over:
        console.line(f"  passed over: {format_passed_over(passed_over)}")


def print_damaged(console: Console, dataset: str) -> None:
    """Prints how much sound the recordings of a finished dataset lack."""
    from beam_transforms.card import format_damaged

    path = files.join(dataset, contract.DATA_CARD)
    for line in format_damaged(files.read_json(path)) if files.exists(path) else ():
        console.line(line)


def print_rejected(console: Console, output: str) -> None:
    """Prints how many files of a local dataset were rejected, and the reasons of the first ten."""
    rows = [] if files.is_remote(output) else read_rejected(output)
    not_read = sum(row["stage"] == "open" for row in rows)
    if not_read:
        console.line(
            f"  {_count(not_read, 'file')} could not be read this time. Try again with `nocturne "
            f"prepare --retry-rejected {output} --output NEW` once the dataset is finished."
        )
    for error, count in sorted(collections.Counter(row["error"] for row in rows).items()):
        console.line(f"  rejected: {_count(count, 'file')}, {error}")
    for row in [row for row in rows if row["error"] != "Duplicate"][:10]:
        console.line(f"    {row['uri']}: {row['message']}")
    if rows:
        console.line(f"  all rejected files: {pathlib.Path(output, contract.REJECTED)}")


def _count_json(folder: str) -> int:
    """Returns the number of JSON files in a local folder; a bucket is not asked every second."""
    names = () if files.is_remote(folder) else files.list_names(folder)
    return sum(name.endswith(".json") for name in names)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def print_dataset(console: Console, info: dict[str, Any], seconds: float) -> None:
    """Prints a summary of a dataset that took some seconds to prepare."""
    for split, sums in info["splits"].items():
        console.line(
            f"  {split:<6} {sums['recordings']:6d} recordings  {sums['seconds'] / 60:8.1f} minutes"
            f"  {sums['records']:7d} records  {sums['bytes'] / 1e6:9.1f} MB"
        )
    total = sum(sums["seconds"] for sums in info["splits"].values())
    console.line(
        f"  dataset {info['dataset_id']}, front end {info['fingerprint']}: "
        f"{_count(info['sources'], 'file')}, {info['rejected']} rejected, "
        f"{_count(info['duplicates'], 'duplicate')}; prepared in {seconds:.1f} s, "
        f"{total / seconds:.0f} times as fast as real time"
    )


def train(console: Console, dataset: str, model: str, config: Config) -> dict[str, Any]:
    """Trains a model and prints its losses.

    Raises:
      UsageError: train.warm_start does not name a model folder.
      IncompleteError: The dataset is not finished.
    """
    if config.train.warm_start == "latest":
        raise UsageError(
            "train.warm_start=latest: only `nocturne run training` knows which model was blessed "
            "last. Give the folder of a model instead: --warm-start PATH."
        )
    require_dataset(dataset)  # before TensorFlow is loaded, which takes seconds
    with console.stage("load TensorFlow"):
        from trainer.fit import train
    with console.stage("train") as stage:
        step_rate = StepRate()

        def show_progress(done: int, total: int, loss: float) -> None:
            if step_rate.first is None and done > 1:
                console.line(f"  continues after step {done - 1} of {total}")
            stage.update(done, total, f"loss {loss:.4f}  {step_rate.describe(done)}")

        info = train.train(
            dataset_path=dataset,
            model_path=model,
            settings=config.train,
            effective_config=config.to_yaml(),
            progress=show_progress,
        )
    best = info["metrics"]
    held_out = f", held-out loss {best['eval_loss']:.4f}" if "eval_loss" in best else ""
    console.line(f"  model {info['model_id']} in {model}: {info['parameters']:,} parameters")
    console.line(f"  best step {best['step']}: loss {best['loss']:.4f}{held_out}")
    history = files.read_json(files.join(model, contract.HISTORY))
    console.line(
        f"  {history['seconds']:.0f} s in all: {history['seconds_to_first_step']:.0f} s until the "
        f"first step, and {history['share_waiting_for_input']:.1%} of the time waiting for data"
    )
    console.line(f"  learning curves: tensorboard --logdir {model}/{contract.TENSORBOARD}")
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
    """Evaluates a model, prints the figures and the verdict, and writes them to output if given.

    Raises:
      OutputExistsError: The output exists already.
      BusyError: Another process evaluates to the same output.
    """
    if output and pathlib.Path(output).exists():
        raise OutputExistsError(
            f"{output} already exists, and evaluations are not overwritten. Choose another "
            "--output, or delete it."
        )
    with console.stage("load TensorFlow"):
        from pipeline.evaluation import evaluate
        from pipeline.evaluation.verdict import PICTURES, REPORT, format_table
    last_blessed = evaluate.read_verdict(against) if against else None
    with contextlib.ExitStack() as held:
        folder = None
        if output:
            # The output appears when it is complete, so that its lock is beside it.
            held.enter_context(exclusive(f"{output.rstrip('/')}.lock"))
            held.enter_context(faults.named(output))
            folder = pathlib.Path(held.enter_context(files.atomic_folder(output)))
        with console.stage("evaluate"):
            verdict = evaluate.evaluate(
                model,
                dataset,
                config.evaluate,
                last_blessed=last_blessed,
                pictures=folder / PICTURES if folder else None,
            )
        for line in [*format_table(verdict), *verdict.reasons, verdict.sentence, verdict.advice]:
            console.line(f"  {line}")
        if folder:
            (folder / contract.EFFECTIVE_CONFIG).write_text(config.to_yaml())
            (folder / REPORT).write_text(verdict.to_json())
    if output:
        console.line(f"  written to {output}")
    return verdict


def generate(console: Console, model: str, output: str, config: Config) -> dict[str, Any]:
    """Generates clips, prints their paths, and returns their manifest."""
    if pathlib.Path(output, contract.COMPLETED).exists():
        raise OutputExistsError(
            f"{output} already holds a finished run. Choose another --output, or delete it."
        )
    check_beam_args(config.beam.generate, "beam.args")
    with console.stage("load TensorFlow"):
        from generator import generate as job
    with console.stage("generate") as stage:

        def poll() -> None:
            stage.update(_count_json(f"{output}/{job.STAGING}"), config.generate.clips, "clips")

        with PollingThread(poll):
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
    """Prints the clips of a generation run, and those that were left out."""
    for clip in manifest["clips"][:_CLIPS_SHOWN]:
        attempt = len(clip["attempts"])
        result = "no technical fault" + (f" on attempt {attempt}" if attempt > 1 else "")
        if clip["health"].get("warnings"):
            result += f"; {', '.join(clip['health']['warnings'])}"
        console.line(
            f"  {output}/{clip['file']}  {clip['duration_seconds']:.1f} s, {result}",
            clip=clip["file"],
        )
    if len(manifest["clips"]) > _CLIPS_SHOWN:
        console.line(f"  all {len(manifest['clips'])} clips: {output}/{contract.MANIFEST}")
    for warning, count in manifest.get("warnings", {}).items():
        console.line(
            f"  {warning}: {count} of {_count(len(manifest['clips']), 'clip')}, compared with the "
            "training recordings",
            warning=warning,
            clips=count,
        )
    for entry in manifest["unhealthy"]:
        attempts = _count(len(entry["attempts"]), "attempt")
        faults = ", ".join(entry["health"]["faults"])
        console.line(
            f"  clip {entry['index']} was left out after {attempts}: {faults}",
            clip=entry["index"],
        )
