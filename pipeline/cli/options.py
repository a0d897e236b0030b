"""Options that commands share, and how every command runs, reports errors and exits."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import json
import os
import pathlib
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from audio.errors import NocturneError
from pipeline.console import json_lines
from pipeline.console.streams import print_result, printable
from pipeline.root import paths
from storage import files

if TYPE_CHECKING:
    from pipeline.config.load import Config
    from pipeline.console.terminal import Console


def option(metavar: str, text: str, *flags: str, **more: Any) -> Any:
    """Returns an option with a placeholder for its value and a help text."""
    return typer.Option(*flags, metavar=metavar, help=text, **more)


def path(text: str, *flags: str, **checks: bool) -> Any:
    """Returns an option whose value is a path, or several; **checks are those of check_path."""
    return option("PATH", text, *flags, callback=_path_check(checks))


def path_argument(text: str) -> Any:
    """Returns an argument whose value is a path."""
    return typer.Argument(metavar="PATH", help=text, callback=_path_check({}))


def _path_check(checks: Mapping[str, bool]) -> Callable[[typer.CallbackParam, Any], Any]:
    def check(parameter: typer.CallbackParam, value: Any) -> Any:
        name = next((each for each in parameter.opts if each.startswith("--")), "PATH")
        with one_line_errors():
            for each in [value] if isinstance(value, str) else value or ():
                files.check_path(each, name, **checks)
        return value

    return check


INPUT = path(
    "An audio file, a folder, a glob pattern or a gs:// path. Can be given several times.",
    "--input",
    pattern=True,
)
ConfigFiles = Annotated[
    list[str] | None,
    path("A YAML file of settings. Can be given several times; later files win.", "--config"),
]
Overrides = Annotated[
    list[str] | None,
    option(
        "SECTION.KEY=VALUE",
        "One setting, such as train.steps=500. Can be given several times.",
        "--set",
    ),
]
Root = Annotated[
    str, path("The pipeline root: folder of all artifacts, models and metadata.", plain=True)
]
RunId = Annotated[
    str | None, option("ID", "Name of the run. Nodes that this run has finished are skipped.")
]
Only = Annotated[str | None, option("NODE", "Run only this node of the pipeline. Needs --run-id.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON to stdout and everything else to stderr.")
]
AcceptUnjudged = Annotated[
    bool,
    typer.Option(
        "--accept-unjudged",
        help="Use the model even if there is too little held-out music to judge it.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]


class PlainHelp(TyperCommand):
    """A command whose help shows no Python types, and the defaults of settings.

    In an option's help text, `{generate.clips}` stands for the default of that setting. The
    settings classes are loaded only to print such a text, because they import NumPy.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Prints the arguments and options."""
        parameters: list[Any] = self.params
        for parameter in parameters:
            if parameter.param_type_name == "argument":
                parameter.display_type_rich = lambda ctx: ""  # noqa: ARG005
            elif "{" in parameter.help:
                from audio.encode import FORMATS
                from pipeline.config.load import Config

                values = {"formats": ", ".join(FORMATS), **vars(Config())}
                parameter.help = parameter.help.format(**values)
        super().format_options(ctx, formatter)


def add_command(
    app: typer.Typer, *sections: str, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Returns a decorator that adds a command to an app, with a note on its configuration.

    Args:
      app: The app.
      *sections: Sections of the configuration that the command uses.
      name: Name of the command; that of the function if none is given.
    """
    several = "sections" if len(sections) > 1 else "section"
    note = (
        f"Settings: the configuration {several} {', '.join(sections)}. `nocturne init` writes a "
        "file with every setting and its explanation."
    )
    return app.command(name, cls=PlainHelp, epilog=note if sections else None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """Options of the two commands that generate clips.

    Those named like a setting of section `generate` override it.
    """

    output: Annotated[str, path("A new folder for the clips, local or gs://.")]
    clips: Annotated[
        int | None, option("NUMBER", "Number of clips. The default is {generate.clips}.")
    ] = None
    seconds: Annotated[
        float | None,
        option("NUMBER", "Length of each clip in seconds. The default is {generate.seconds:g}."),
    ] = None
    seed: Annotated[
        int | None,
        option(
            "NUMBER",
            "Random seed. A model makes the same clips again from the same seed. The default is "
            "{generate.seed}.",
        ),
    ] = None
    temperature: Annotated[
        float | None,
        option(
            "NUMBER",
            "Sampling temperature. 0 always picks the most likely frame. The default is the "
            "model's own.",
        ),
    ] = None
    primer: Annotated[
        str | None,
        path(
            "An audio file: every clip continues a passage from its middle. `none` lets clips "
            "start from nothing. The default is passages that are stored with the model."
        ),
    ] = None
    format: Annotated[
        str | None, option("FORMAT", "File format: {formats}. The default is {generate.format}.")
    ] = None
    date: Annotated[
        str | None, option("TEXT", "A date to write into the clips' tags, such as 2026-11-22.")
    ] = None
    config: ConfigFiles = None
    overrides: Overrides = None

    def configuration(self) -> Config:
        """Returns the configuration of --config and --set, overridden by the other options."""
        config = configuration(self.config, self.overrides)
        names = {field.name for field in dataclasses.fields(config.generate)}
        changes = {
            name: value for name, value in vars(self).items() if name in names and value is not None
        }
        with one_line_errors():
            return dataclasses.replace(
                config, generate=dataclasses.replace(config.generate, **changes)
            )


def accepting(overrides: list[str] | None, accept_unjudged: bool) -> list[str] | None:
    """Returns the values of --set with what --accept-unjudged adds to them."""
    added = ["evaluate.accept_unjudged=true"] if accept_unjudged else []
    return [*(overrides or ()), *added]


def with_generation_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replaces a command's parameter `options` with one parameter per GenerationOptions field."""
    shared = inspect.signature(GenerationOptions, eval_str=True).parameters
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name == "options":
            parameters += shared.values()
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def expanded(**values: Any) -> None:
        options = GenerationOptions(**{name: values.pop(name) for name in shared})
        command(options=options, **values)

    expanded.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return expanded


def run_id_for(kind: str, run_id: str | None, only: str | None) -> str:
    """Returns the id given to a run, or a new one; exits with one line if they do not fit."""
    with one_line_errors():
        return paths.run_id_for(kind, run_id, only)


def configuration(files: list[str] | None, overrides: list[str] | None) -> Config:
    """Returns the configuration of --config and --set."""
    from pipeline.config.load import load_config

    with one_line_errors():
        return load_config(files, overrides or ())


def print_json(value: object) -> None:
    """Prints the result of a command that was asked for --json."""
    print_text(json.dumps(value, indent=2, default=str))


def print_text(text: str) -> None:
    """Prints the result of a command, line by line; control characters in it are escaped."""
    with one_line_errors():
        print_result("\n".join(printable(line) for line in text.split("\n")))


@contextlib.contextmanager
def running(
    name: str,
    log: pathlib.Path | None = None,
    *,
    run_id: str | None = None,
    aside: bool = False,
) -> Iterator[Console]:
    """Runs a command's work: library output goes to a log file, an error becomes one line.

    Args:
      name: Name of the command, for the log file.
      log: The log file; one in the user's state folder if none is given.
      run_id: The pipeline run that the command works on, for JSON logs.
      aside: Whether stages go to stderr, because the command prints JSON to stdout.
    """
    json_lines.set_run_id(run_id)
    from pipeline.console.terminal import Console, library_output_to

    log = log or _default_log(name)
    with one_line_errors(log), Console(aside=aside) as console, library_output_to(log):
        try:
            yield console
        except NocturneError:
            raise
        except Exception:
            traceback.print_exc()  # goes to the log file, because stderr points there
            raise


@contextlib.contextmanager
def one_line_errors(log: pathlib.Path | None = None) -> Iterator[None]:
    """Ends the process with one line on stderr and an exit code if the block fails."""
    try:
        yield
    except typer.Exit:
        raise
    except BaseException as error:
        from pipeline.console.root_cause import find_nocturne_error

        cause = find_nocturne_error(error)
        if isinstance(cause, NocturneError):
            message, code = str(cause), cause.exit_code
        elif isinstance(cause, KeyboardInterrupt):
            message = "interrupted. Run the same command again; finished work is kept."
            code = 130
        else:
            details = f" Details are in the log file {log}" if log else ""
            first = (str(cause).strip().splitlines() or [""])[0]
            message, code = f"internal error, {type(cause).__name__}: {first}.{details}", 1
        if json_lines.current_format() == json_lines.JSON:
            fields = {"error": type(cause).__name__, "exit_code": code}
            json_lines.write(sys.stderr, "ERROR", message, **fields)
        else:
            print(f"nocturne: {printable(message)}", file=sys.stderr)
        raise typer.Exit(code) from None


def _default_log(name: str) -> pathlib.Path:
    return files.state_folder() / f"{name}-{os.getpid()}.log"
