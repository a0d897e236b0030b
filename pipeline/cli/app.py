"""The command line. Heavy libraries are imported by the commands that need them, not here."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Annotated

import typer

from audio import contract
from audio.errors import UsageError
from pipeline.cli.options import (
    AsJson,
    Clips,
    ConfigFiles,
    Date,
    DryRun,
    Format,
    Overrides,
    Primer,
    Root,
    Seconds,
    Seed,
    Temperature,
    configuration,
    generation_configuration,
    one_line_errors,
    print_json,
    running,
)
from pipeline.cli.prune import prune
from pipeline.cli.run import run_app
from pipeline.console import json_lines

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
    ] = json_lines.TEXT,
) -> None:
    """Turns a bucket of songs into new music: prepare, train, generate; or the whole pipeline."""
    with one_line_errors():
        if log_format not in json_lines.FORMATS:
            raise UsageError(f"--log-format: wanted text or json, got {log_format!r}")
    json_lines.set_format(log_format)


@app.command()
def init(
    folder: Annotated[str, typer.Argument(help="A folder, or gs://bucket/path.")] = ".",
) -> None:
    """Writes a configuration with every key explained, and where to put what.

    Example: nocturne init my-music && nocturne run training --config my-music/nocturne.yaml ...
    """
    with running("init") as console:
        from pipeline.commands import init as beginning

        for path in beginning.run(folder):
            console.line(f"  {path}")


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
    dry_run: DryRun = False,
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Turns audio files into a dataset of log-mel records.

    Example: nocturne prepare --input ~/Music --output dataset
    """
    settings = configuration(config, overrides)
    with running("prepare", aside=as_json) as console:
        from pipeline.commands import dry_run as plans
        from pipeline.commands import stages

        choice = stages.InputChoice(
            inputs=tuple(input or ()), listed=input_list, retry_rejected=retry_rejected
        )
        if dry_run:
            found = plans.preparation(console, choice.find(), output)
        else:
            found = stages.prepare(
                console,
                choice,
                output,
                settings,
                previous=previous or retry_rejected,
                pictures=pictures,
            )
    if as_json:
        print_json(found)


@app.command()
def card(
    dataset: Annotated[str, typer.Argument(help="A folder that `nocturne prepare` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Shows what a dataset sounds like in figures, and what changed since the version before.

    Example: nocturne card dataset
    """
    with running("card", aside=as_json) as console:
        from pipeline.commands import stages

        found = stages.show_card(console, dataset)
    if as_json:
        print_json(found)


@app.command()
def train(
    dataset: Annotated[str, typer.Option(help="A folder that `nocturne prepare` wrote.")],
    model: Annotated[str, typer.Option(help="A new folder for the model.")],
    warm_start: Annotated[
        str | None, typer.Option(help="A model to go on from: same front end, same architecture.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Trains a model on a dataset and exports it.

    Example: nocturne train --dataset dataset --model model --set train.steps=2000
    """
    given = [f"train.warm_start={json.dumps(warm_start)}"] if warm_start else []
    settings = configuration(config, [*(overrides or ()), *given])
    with running("train", aside=as_json) as console:
        from pipeline.commands import stages

        found = stages.train(console, dataset, model, settings)
    if as_json:
        print_json(found)


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
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Judges a model by the held-out recordings of a dataset. Exit code 8 where it fails.

    Example: nocturne evaluate --model model --dataset dataset --output judged
    """
    settings = configuration(config, overrides)
    with running("evaluate", aside=as_json) as console:
        from pipeline.commands import stages

        verdict = stages.evaluate(console, model, dataset, settings, output=output, against=against)
    if as_json:
        print(verdict.to_json())
    with one_line_errors():
        stages.require_passed(verdict, model)


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
    dry_run: DryRun = False,
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Generates clips with a trained model.

    Example: nocturne generate --model model --output clips --clips 4 --seconds 20 --seed 7
    """
    flags = (clips, seconds, seed, temperature, primer, format, date)
    settings = generation_configuration(config, overrides, *flags)
    with running("generate", aside=as_json) as console:
        from pipeline.commands import dry_run as plans
        from pipeline.commands import stages

        do = plans.generation if dry_run else stages.generate
        found = do(console, model, output, settings)
    if as_json:
        print_json(found)


@app.command()
def trace(
    clip: Annotated[str, typer.Argument(help="A generated file, where it was written.")],
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Shows what a clip was made from: seed, primer, model, runs, dataset, recordings.

    Example: nocturne trace clips/clip-0003.wav
    """
    settings = configuration(config, overrides)
    with running("trace"):
        from pipeline.root import trace

        found = trace.trace_clip(clip, settings.metadata)
    if as_json:
        print_json(found)
    else:
        print("\n".join(trace.trace_lines(found)))


@app.command()
def report(
    root: Root,
    run_id: Annotated[str | None, typer.Option(help="A run; the newest unless given.")] = None,
    output: Annotated[
        str | None, typer.Option(help="Where the page goes, local or gs://; beside the clips.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Writes the page of a run anew: clips, model, data, lineage, time and cost.

    Example: nocturne report --root pipeline-root --set report.price_per_hour=0.42
    """
    with running("report") as console:
        from pipeline.report import page as pages
        from pipeline.runs import launch

        found = pages.find_run(root, run_id)
        config = f"{root.rstrip('/')}/runs/{found}/{contract.EFFECTIVE_CONFIG}"
        settings = configuration([config], overrides)
        launch.write_page(console, root, found, settings, output=output)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Shows what this machine has, and what is missing for what. Exit code 1 where anything is.

    Example: nocturne doctor --json
    """
    from pipeline.commands import doctor as examination

    with running("doctor", aside=as_json):
        findings = examination.examine()
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        print("\n".join(examination.render(findings)))
    if any(finding.missing for finding in findings):
        raise typer.Exit(1)


@app.command()
def demo(
    root: Annotated[str, typer.Option(help="Where everything of the demo goes.")] = "demo",
    input: Annotated[
        list[str] | None, typer.Option("--input", help="Your own audio instead of the corpus.")
    ] = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Plays a corpus (or takes your audio), trains, generates, and writes a page to listen to.

    Example: nocturne demo --input ~/Music --root my-demo
    """
    from pipeline.demo.run import DEMO_OVERRIDES

    settings = configuration(config, [*DEMO_OVERRIDES, *(overrides or ())])
    log = pathlib.Path(root, "log.txt")
    with running("demo", log=log) as console:
        from pipeline.demo import run as demonstration

        demonstration.run(console, root, input or [], settings)


def main() -> None:
    """The `nocturne` command."""
    app()
