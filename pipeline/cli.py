"""The command line. Heavy libraries are imported by the commands that need them, not here."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import sys
import tempfile
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audio.errors import NocturneError
from pipeline import layout

if TYPE_CHECKING:
    from pipeline.configs import Config
    from pipeline.console import Console

app = typer.Typer(
    name="nocturne",
    help="Turns a bucket of songs into new music: prepare, train, generate; or the whole pipeline.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
run_app = typer.Typer(no_args_is_help=True, help="The two TFX pipelines.")
app.add_typer(run_app, name="run")

Input = Annotated[
    list[str],
    typer.Option("--input", help="A file, folder, glob or gs:// path; may be given again."),
]
ConfigFile = Annotated[str | None, typer.Option("--config", help="A YAML file of settings.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="section.key=value, as in train.steps=500; may be given again."),
]
Root = Annotated[str, typer.Option(help="The pipelines' folder: metadata, artifacts, models.")]
RunId = Annotated[str | None, typer.Option(help="Names the run; finished nodes of it are kept.")]
Only = Annotated[str | None, typer.Option(help="One node of the run, by itself; needs --run-id.")]
Clips = Annotated[int | None, typer.Option(help="How many clips.")]
Seconds = Annotated[float | None, typer.Option(help="Length of each clip.")]
Seed = Annotated[int | None, typer.Option(help="The run's seed; the same gives the same clips.")]
Temperature = Annotated[float | None, typer.Option(help="Scales what is random; 0 for nothing.")]
Format = Annotated[
    str | None, typer.Option(help="wav, wav24, wavfloat, flac, vorbis, opus or mp3.")
]
Date = Annotated[str | None, typer.Option(help="Written into the files, such as 2026-11-22.")]
Primer = Annotated[str | None, typer.Option(help="An audio file that starts every clip.")]


@app.command()
def prepare(
    output: Annotated[str, typer.Option(help="A new folder for the dataset.")],
    input: Annotated[
        list[str] | None,
        typer.Option("--input", help="A file, folder, glob or gs:// path; may be given again."),
    ] = None,
    input_list: Annotated[
        str | None, typer.Option(help="A file of inputs, one a line or NUL-separated.")
    ] = None,
    previous: Annotated[
        str | None,
        typer.Option(help="An earlier version: splits stay, unchanged files are not decoded."),
    ] = None,
    retry_rejected: Annotated[
        str | None,
        typer.Option(help="A dataset whose rejected files to try again; the rest is copied."),
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=0, help="Draw the log-mel of this many recordings.")
    ] = 0,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Turns audio files into a dataset of log-mel records.

    Example: nocturne prepare --input ~/Music --output dataset
    """
    settings = _config(config, overrides)
    with _command("prepare") as console:
        from pipeline import commands

        choice = commands.InputChoice(
            inputs=tuple(input or ()), listed=input_list, retry_rejected=retry_rejected
        )
        commands.prepare(
            console,
            choice,
            output,
            settings,
            previous=previous or retry_rejected,
            pictures=pictures,
        )


@app.command()
def card(
    dataset: Annotated[str, typer.Argument(help="A folder that `nocturne prepare` wrote.")],
) -> None:
    """Shows what a dataset sounds like in figures, and what changed since the version before.

    Example: nocturne card dataset
    """
    with _command("card") as console:
        from pipeline import commands

        commands.show_card(console, dataset)


@app.command()
def train(
    dataset: Annotated[str, typer.Option(help="A folder that `nocturne prepare` wrote.")],
    model: Annotated[str, typer.Option(help="A new folder for the model.")],
    warm_start: Annotated[
        str | None, typer.Option(help="A model to go on from: same front end, same architecture.")
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Trains a model on a dataset and exports it.

    Example: nocturne train --dataset dataset --model model --set train.steps=2000
    """
    given = [f"train.warm_start={json.dumps(warm_start)}"] if warm_start else []
    settings = _config(config, [*(overrides or ()), *given])
    with _command("train") as console:
        from pipeline import commands

        commands.train(console, dataset, model, settings)


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="A folder that `nocturne train` wrote.")],
    dataset: Annotated[str, typer.Option(help="A folder that `nocturne prepare` wrote.")],
    output: Annotated[
        str | None, typer.Option(help="A new folder for evaluation.json and pictures.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="The evaluation.json of another model: one clearly worse fails."),
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Judges a model by the held-out recordings of a dataset. Exit code 8 where it fails.

    Example: nocturne evaluate --model model --dataset dataset --output judged
    """
    settings = _config(config, overrides)
    with _command("evaluate") as console:
        from pipeline import commands

        commands.evaluate(console, model, dataset, settings, output=output, against=against)


@app.command()
def experiment(
    file: Annotated[str, typer.Argument(help="A YAML file of variants; see benchmarks/.")],
    input: Input,
    output: Annotated[str, typer.Option(help="A folder for data, models, figures, tables.")],
    test: Annotated[
        bool, typer.Option("--test", help="Hold against the test tracks: once, at the end.")
    ] = False,
) -> None:
    """Trains variants of the configuration with the same seeds, and measures what they generate.

    Example: nocturne experiment benchmarks/defaults.yaml --input ~/Music --output experiment
    """
    from pipeline import experiment as experiments

    with _one_line_errors():
        wanted = experiments.read_experiment(file)
    with _command("experiment") as console:
        results = experiments.run(
            console,
            wanted,
            inputs=input,
            folder=output,
            split=experiments.TEST if test else experiments.VALIDATION,
        )
    print("\n".join(experiments.table(results)))


@app.command()
def generate(
    model: Annotated[str, typer.Option(help="A folder that `nocturne train` wrote.")],
    output: Annotated[str, typer.Option(help="A new folder for the clips, local or gs://.")],
    clips: Clips = None,
    seconds: Seconds = None,
    seed: Seed = None,
    temperature: Temperature = None,
    primer: Primer = None,
    format: Format = None,
    date: Date = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Generates clips with a trained model.

    Example: nocturne generate --model model --output clips --clips 4 --seconds 20 --seed 7
    """
    flags = (clips, seconds, seed, temperature, primer, format, date)
    settings = _generation(config, overrides, *flags)
    with _command("generate") as console:
        from pipeline import commands

        commands.generate(console, model, output, settings)


@run_app.command("training")
def run_training(
    input: Input,
    root: Root,
    run_id: RunId = None,
    only: Only = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Audio files to a blessed model: the TFX training pipeline. Exit code 8 where none is blessed.

    Example: nocturne run training --input ~/Music --root pipeline-root
    """
    settings = _config(config, overrides)
    run_id = _run_id("training", run_id, only)
    with _command("run-training", log=layout.run_log(root, run_id, only)) as console:
        from pipeline import runs

        if only:
            runs.training_node(console, input, root, settings, run_id=run_id, node=only)
        else:
            runs.require_blessed(runs.training(console, input, root, settings, run_id=run_id))


@run_app.command("generation")
def run_generation(
    root: Root,
    output: Annotated[str, typer.Option(help="A new folder for the clips, local or gs://.")],
    run_id: RunId = None,
    only: Only = None,
    clips: Clips = None,
    seconds: Seconds = None,
    seed: Seed = None,
    temperature: Temperature = None,
    primer: Primer = None,
    format: Format = None,
    date: Date = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """The latest blessed model to clips: the TFX generation pipeline.

    Example: nocturne run generation --root pipeline-root --output clips --clips 8
    """
    flags = (clips, seconds, seed, temperature, primer, format, date)
    settings = _generation(config, overrides, *flags)
    run_id = _run_id("generation", run_id, only)
    with _command("run-generation", log=layout.run_log(root, run_id, only)) as console:
        from pipeline import runs

        runs.generation(console, root, output, settings, run_id=run_id, only=only)


@run_app.command("blessed")
def run_blessed(
    root: Root, run_id: Annotated[str, typer.Option(help="A run of the training pipeline.")]
) -> None:
    """Shows the verdict on a run's model. Exit code 8 where it is not blessed.

    Example: nocturne run blessed --root pipeline-root --run-id training-20261122T020000-17
    """
    with _command("run-blessed") as console:
        from pipeline import runs

        runs.require_blessed_run(console, root, run_id)


@run_app.command("nodes")
def run_nodes(
    pipeline: Annotated[str, typer.Argument(help="training or generation.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Lists a pipeline's nodes, each with those that it depends on, in an order that works.

    Example: nocturne run nodes training --json
    """
    settings = _config(config, overrides)
    with _command("run-nodes"):
        from pipeline import nodes

        found = nodes.nodes_of(pipeline, settings)
    print(json.dumps(found, indent=2) if as_json else nodes.render(found))


@app.command()
def trace(
    clip: Annotated[str, typer.Argument(help="A generated file, where it was written.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Shows what a clip was made from: seed, primer, model, runs, dataset, recordings.

    Example: nocturne trace clips/clip-0003.wav
    """
    with _command("trace"):
        from pipeline import lineage

        found = lineage.trace(clip)
    print(json.dumps(found, indent=2) if as_json else "\n".join(lineage.render(found)))


@app.command()
def doctor() -> None:
    """Shows what this machine has, and what is missing for what. Exit code 1 where anything is."""
    from pipeline import doctor as examination

    with _command("doctor"):
        findings = examination.examine()
    print("\n".join(examination.render(findings)))
    if any(finding.missing for finding in findings):
        raise typer.Exit(1)


@app.command()
def demo(
    root: Annotated[str, typer.Option(help="Where everything of the demo goes.")] = "demo",
    input: Annotated[
        list[str] | None, typer.Option("--input", help="Your own audio instead of the corpus.")
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Plays a corpus (or takes your audio), trains, generates, and writes a page to listen to.

    Example: nocturne demo --input ~/Music --root my-demo
    """
    from pipeline.demo import DEMO_OVERRIDES

    settings = _config(config, [*DEMO_OVERRIDES, *(overrides or ())])
    log = pathlib.Path(root, "log.txt")
    with _command("demo", log=log) as console:
        from pipeline import demo as demonstration

        demonstration.run(console, root, input or [], settings)


def _run_id(kind: str, given: str | None, only: str | None) -> str:
    with _one_line_errors():
        return layout.run_id_for(kind, given, only)


def _config(path: str | None, overrides: list[str] | None) -> Config:
    from pipeline.configs import load_config

    with _one_line_errors():
        return load_config(path, overrides or ())


def _generation(path: str | None, overrides: list[str] | None, *flags: Any) -> Config:
    names = ("clips", "seconds", "seed", "temperature", "primer", "format", "date")
    given = {name: flag for name, flag in zip(names, flags, strict=True) if flag is not None}
    settings = _config(path, overrides)
    with _one_line_errors():
        merged = dataclasses.replace(settings.generate, **given)
    return dataclasses.replace(settings, generate=merged)


@contextlib.contextmanager
def _command(name: str, log: pathlib.Path | None = None) -> Iterator[Console]:
    """Runs a command's work: noise to a log file, errors as one line and an exit code."""
    from pipeline.console import Console, noise_to

    console = Console()
    log = log or _default_log(name)
    with _one_line_errors(log), noise_to(log):
        try:
            yield console
        except NocturneError:
            raise
        except Exception:
            traceback.print_exc()  # into the log: stderr points there
            raise


@contextlib.contextmanager
def _one_line_errors(log: pathlib.Path | None = None) -> Iterator[None]:
    try:
        yield
    except typer.Exit:
        raise
    except BaseException as error:
        from pipeline.failures import underlying

        cause = underlying(error)
        if isinstance(cause, NocturneError):
            said, code = str(cause), cause.exit_code
        elif isinstance(cause, KeyboardInterrupt):
            said, code = "interrupted. Run the same command again; what is finished is kept.", 130
        else:
            where = f" The log says more: {log}" if log else ""
            first = (str(cause).strip().splitlines() or [""])[0]
            said, code = f"internal error, {type(cause).__name__}: {first}.{where}", 1
        print(f"nocturne: {said}", file=sys.stderr)
        raise typer.Exit(code) from None


def _default_log(name: str) -> pathlib.Path:
    state = os.environ.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local" / "state"
    folder = pathlib.Path(state, "nocturne")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = pathlib.Path(tempfile.gettempdir())
    return folder / f"{name}-{os.getpid()}.log"


def main() -> None:
    """The `nocturne` command."""
    app()
