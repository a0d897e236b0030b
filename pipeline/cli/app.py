"""The commands. Heavy libraries are imported by the commands that need them, not here."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from audio import contract
from audio.errors import UsageError
from pipeline.cli.home import provide_home
from pipeline.cli.options import (
    INPUT,
    AcceptUnjudged,
    AsJson,
    ConfigFiles,
    DryRun,
    GenerationOptions,
    Overrides,
    Root,
    accepting,
    add_command,
    configuration,
    one_line_errors,
    option,
    path,
    path_argument,
    print_json,
    print_text,
    running,
    with_generation_options,
)
from pipeline.cli.prune import prune
from pipeline.cli.run import run_app
from pipeline.console import json_lines
from pipeline.console.streams import printable, protect_standard_streams

Model = Annotated[str, path("A model folder that `nocturne train` wrote.")]
Dataset = Annotated[str, path("A dataset folder that `nocturne prepare` wrote.")]


class _Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        """Returns the commands in the order of this file, and prune, which deletes, after run."""
        return sorted(super().list_commands(ctx), key=lambda name: name == "prune")


app = typer.Typer(
    name="nocturne",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.add_typer(run_app, name="run")


def _print_version(wanted: bool) -> None:
    if wanted:
        from pipeline.commands.doctor import nocturne_version

        print(f"nocturne {nocturne_version()}")
        raise typer.Exit


@app.callback(epilog="`nocturne COMMAND --help` explains a command and shows an example.")
def nocturne(
    log_format: Annotated[
        str,
        option(
            "FORMAT",
            "Format of progress messages: text, or json for one JSON object per line.",
            envvar="NOCTURNE_LOG_FORMAT",
        ),
    ] = json_lines.TEXT,
    version: Annotated[  # noqa: ARG001
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Turn recordings into new music: prepare a dataset, train a model, generate clips."""
    with one_line_errors():
        if log_format not in json_lines.FORMATS:
            raise UsageError(f"--log-format: wanted text or json, got {log_format!r}")
    json_lines.set_format(log_format)


@add_command(
    app, "audio", "prepare", "train", "tune", "evaluate", "generate", "report", "beam", "metadata"
)
def demo(
    root: Annotated[
        str, path("A folder for everything that the demo makes.", local=True, plain=True)
    ] = "demo",
    inputs: Annotated[
        list[str] | None,
        path(
            "Your own recordings, instead of a small corpus. Can be given several times.",
            "--input",
            pattern=True,
        ),
    ] = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Train on a small corpus and make clips to hear.

    The result is a page to open in a browser, with the clips, the verdict on the model and the
    history of both.

    Example: nocturne demo --input ~/Music --root my-demo
    """
    from pipeline.demo.run import DEMO_OVERRIDES

    settings = configuration(config, [*DEMO_OVERRIDES, *(overrides or ())])
    log = pathlib.Path(root, "log.txt")
    with running("demo", log=log) as console:
        from pipeline.demo.run import run

        run(console, root, inputs or [], settings)


@add_command(app)
def init(
    folder: Annotated[str, path_argument("A folder, local or gs://.")] = ".",
) -> None:
    """Write a configuration file with all settings.

    Every setting is explained in the file. Its JSON schema, with which editors check the file,
    and a guide to the other folders are written beside it.

    Example: nocturne init my-music
    """
    with running("init") as console:
        from pipeline.commands.init import run

        for path in run(folder):
            console.line(f"  {path}")


@add_command(app)
def doctor(as_json: AsJson = False) -> None:
    """Check this machine for everything Nocturne needs.

    The exit code is 1 if something is missing; the output says what to do about it.

    Example: nocturne doctor --json
    """
    with running("doctor", aside=as_json):
        from pipeline.commands.doctor import examine, render

        findings = examine()
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        print_text("\n".join(render(findings)))
    if any(finding.missing for finding in findings):
        raise typer.Exit(1)


@add_command(app, "audio", "prepare", "beam")
def prepare(
    output: Annotated[str, path("A new folder for the dataset.")],
    inputs: Annotated[list[str] | None, INPUT] = None,
    input_list: Annotated[
        str | None,
        path("A text file that lists inputs, separated by line breaks or by NUL characters."),
    ] = None,
    previous: Annotated[
        str | None,
        path(
            "An earlier version of the dataset. Its recordings stay in their splits, and unchanged "
            "files are not decoded again."
        ),
    ] = None,
    retry_rejected: Annotated[
        str | None,
        path("A dataset whose rejected files are tried again. The rest of it is copied."),
    ] = None,
    pictures: Annotated[
        int, option("NUMBER", "Number of recordings to draw spectrograms of.", min=0)
    ] = 0,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Turn audio files into a dataset to train on.

    Example: nocturne prepare --input ~/Music --output dataset
    """
    settings = configuration(config, overrides)
    with running("prepare", aside=as_json) as console:
        from pipeline.commands import dry_run as plans
        from pipeline.commands import stages

        choice = stages.InputChoice(
            inputs=tuple(inputs or ()), input_list=input_list, retry_rejected=retry_rejected
        )
        if dry_run:
            result = plans.plan_preparation(console, choice.find(), output)
        else:
            result = stages.prepare(
                console,
                choice,
                output,
                settings,
                previous=previous or retry_rejected,
                pictures=pictures,
            )
    if as_json:
        print_json(result)


@add_command(app)
def card(
    dataset: Annotated[str, path_argument("A dataset folder that `nocturne prepare` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Show statistics of a dataset, and what changed.

    Changes are those since the version that was given to `nocturne prepare --previous`.

    Example: nocturne card dataset
    """
    with running("card", aside=as_json) as console:
        from pipeline.commands import stages

        result = stages.show_card(console, dataset)
    if as_json:
        print_json(result)


@add_command(app, "train")
def train(
    dataset: Dataset,
    model: Annotated[str, path("A new folder for the model.")],
    warm_start: Annotated[
        str | None, path("A model to continue from. It needs the same front end and architecture.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Train a model on a dataset.

    A training run that was interrupted continues where it stopped if the command is repeated.

    Example: nocturne train --dataset dataset --model model --set train.steps=2000
    """
    override = [f"train.warm_start={json.dumps(warm_start)}"] if warm_start else []
    settings = configuration(config, [*(overrides or ()), *override])
    with running("train", aside=as_json) as console:
        from pipeline.commands import stages

        result = stages.train(console, dataset, model, settings)
    if as_json:
        print_json(result)


@add_command(app, "evaluate")
def evaluate(
    model: Model,
    dataset: Dataset,
    output: Annotated[
        str | None, path("A new folder for evaluation.json and pictures.", local=True)
    ] = None,
    against: Annotated[
        str | None,
        path("The evaluation.json of another model. A model that is clearly worse fails."),
    ] = None,
    accept_unjudged: AcceptUnjudged = False,
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Compare a model's music with held-out recordings.

    The exit code is 8 if the model is refused, and 13 if it cannot be judged.

    Example: nocturne evaluate --model model --dataset dataset --output evaluation
    """
    settings = configuration(config, accepting(overrides, accept_unjudged))
    with running("evaluate", aside=as_json) as console:
        from pipeline.commands import stages

        verdict = stages.evaluate(console, model, dataset, settings, output=output, against=against)
    if as_json:
        print_text(verdict.to_json())
    with one_line_errors():
        verdict.require_blessed(model)


@add_command(app, "generate", "beam")
@with_generation_options
def generate(
    model: Model,
    options: GenerationOptions,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Generate clips with a trained model.

    Example: nocturne generate --model model --output clips --clips 4 --seed 7
    """
    settings = options.configuration()
    with running("generate", aside=as_json) as console:
        from pipeline.commands import dry_run as plans
        from pipeline.commands import stages

        make = plans.plan_generation if dry_run else stages.generate
        result = make(console, model, options.output, settings)
    if as_json:
        print_json(result)


@add_command(app, "metadata")
def trace(
    clip: Annotated[str, path_argument("A generated clip, in the folder it was written to.")],
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Show what a clip was made from.

    That is its seed, primer, model, pipeline runs, dataset and recordings.

    Example: nocturne trace clips/clip-0003.wav
    """
    settings = configuration(config, overrides)
    with running("trace"):
        from pipeline.root import trace

        result = trace.trace_clip(clip, settings.metadata)
    if as_json:
        print_json(result)
    else:
        print_text("\n".join(map(printable, trace.trace_lines(result))))


@add_command(app, "report")
def report(
    root: Root,
    run_id: Annotated[
        str | None, option("ID", "The run to show. The default is the newest run.")
    ] = None,
    output: Annotated[
        str | None,
        path("A folder for the page, local or gs://. The default is the folder of the clips."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Write the page of a pipeline run again.

    The page shows the clips, the model, the data, the lineage, and the time of each stage.

    Example: nocturne report --root pipeline-root --set report.price_per_hour=0.42
    """
    with running("report") as console:
        from pipeline.report.page import find_run
        from pipeline.runs import launch

        run = find_run(root, run_id)
        config = f"{root.rstrip('/')}/runs/{run}/{contract.EFFECTIVE_CONFIG}"
        settings = configuration([config], overrides)
        launch.write_page(console, root, run, settings, output=output)


add_command(app, "metadata")(prune)


def main() -> None:
    """Run the `nocturne` command."""
    protect_standard_streams()
    provide_home()
    app()
