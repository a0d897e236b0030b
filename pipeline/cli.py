"""The command line. Heavy libraries are imported by the commands that need them, not here."""

from __future__ import annotations

import json
import pathlib
from typing import Annotated

import typer

from audio.errors import UsageError
from pipeline import json_log
from pipeline.cli_common import (
    Clips,
    ConfigFile,
    Date,
    Format,
    Input,
    Overrides,
    Primer,
    Seconds,
    Seed,
    Temperature,
    configuration,
    generation_configuration,
    one_line_errors,
    running,
)
from pipeline.cli_prune import prune
from pipeline.cli_run import run_app

app = typer.Typer(
    name="nocturne",
    help="Turns a bucket of songs into new music: prepare, train, generate; or the whole pipeline.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(run_app, name="run")
app.command()(prune)


@app.callback()
def nocturne(
    log_format: Annotated[
        str,
        typer.Option(envvar="NOCTURNE_LOG_FORMAT", help="text, or json: one object a line."),
    ] = json_log.TEXT,
) -> None:
    """Turns a bucket of songs into new music: prepare, train, generate; or the whole pipeline."""
    with one_line_errors():
        if log_format not in json_log.FORMATS:
            raise UsageError(f"--log-format: wanted text or json, got {log_format!r}")
    json_log.choose(log_format)


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
    settings = configuration(config, overrides)
    with running("prepare") as console:
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
    with running("card") as console:
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
    settings = configuration(config, [*(overrides or ()), *given])
    with running("train") as console:
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
    settings = configuration(config, overrides)
    with running("evaluate") as console:
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

    with one_line_errors():
        wanted = experiments.read_experiment(file)
    with running("experiment") as console:
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
    settings = generation_configuration(config, overrides, *flags)
    with running("generate") as console:
        from pipeline import commands

        commands.generate(console, model, output, settings)


@app.command()
def trace(
    clip: Annotated[str, typer.Argument(help="A generated file, where it was written.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Shows what a clip was made from: seed, primer, model, runs, dataset, recordings.

    Example: nocturne trace clips/clip-0003.wav
    """
    settings = configuration(config, overrides)
    with running("trace"):
        from pipeline import lineage

        found = lineage.trace(clip, settings.metadata)
    print(json.dumps(found, indent=2) if as_json else "\n".join(lineage.render(found)))


@app.command()
def doctor() -> None:
    """Shows what this machine has, and what is missing for what. Exit code 1 where anything is."""
    from pipeline import doctor as examination

    with running("doctor"):
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

    settings = configuration(config, [*DEMO_OVERRIDES, *(overrides or ())])
    log = pathlib.Path(root, "log.txt")
    with running("demo", log=log) as console:
        from pipeline import demo as demonstration

        demonstration.run(console, root, input or [], settings)


def main() -> None:
    """The `nocturne` command."""
    app()
