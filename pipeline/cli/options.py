"""What the commands share: their options, and how they run and fail."""

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
from pipeline.console import json_lines
from pipeline.root import paths

if TYPE_CHECKING:
    from pipeline.config.load import Config
    from pipeline.console.terminal import Console

Input = Annotated[
    list[str],
    typer.Option("--input", help="A file, folder, glob or gs:// path; may be given again."),
]
ConfigFiles = Annotated[
    list[str] | None,
    typer.Option("--config", help="A YAML file of settings; may be given again, the later wins."),
]
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
Primer = Annotated[str | None, typer.Option(help="An audio file that starts each clip, or `none`.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON to stdout, and everything else to stderr.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
GENERATION_FLAGS = ("clips", "seconds", "seed", "temperature", "primer", "format", "date")


def run_id_for(kind: str, given: str | None, only: str | None) -> str:
    """Returns the id of a run: the given one, or a new one."""
    with one_line_errors():
        return paths.run_id_for(kind, given, only)


def configuration(paths: list[str] | None, overrides: list[str] | None) -> Config:
    """Returns the configuration of --config and --set."""
    from pipeline.config.load import load_config

    with one_line_errors():
        return load_config(paths, overrides or ())


def generation_configuration(
    paths: list[str] | None, overrides: list[str] | None, *flags: Any
) -> Config:
    """Returns it with what the flags of generation say on top, in the order of GENERATION_FLAGS."""
    pairs = zip(GENERATION_FLAGS, flags, strict=True)
    given = {name: flag for name, flag in pairs if flag is not None}
    settings = configuration(paths, overrides)
    with one_line_errors():
        merged = dataclasses.replace(settings.generate, **given)
    return dataclasses.replace(settings, generate=merged)


def print_json(found: object) -> None:
    """Prints what --json asks for."""
    print(json.dumps(found, indent=2, default=str))


@contextlib.contextmanager
def running(
    name: str,
    log: pathlib.Path | None = None,
    *,
    run_id: str | None = None,
    aside: bool = False,
) -> Iterator[Console]:
    """Runs a command's work: noise to a log file, errors as one line and an exit code.

    With `aside` stages go to stderr, for a command that prints JSON.
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
            traceback.print_exc()  # into the log: stderr points there
            raise


@contextlib.contextmanager
def one_line_errors(log: pathlib.Path | None = None) -> Iterator[None]:
    """Ends the process with one line and an exit code where a block fails."""
    try:
        yield
    except typer.Exit:
        raise
    except BaseException as error:
        from pipeline.console.root_cause import find_nocturne_error

        cause = find_nocturne_error(error)
        if isinstance(cause, NocturneError):
            said, code = str(cause), cause.exit_code
        elif isinstance(cause, KeyboardInterrupt):
            said, code = "interrupted. Run the same command again; what is finished is kept.", 130
        else:
            where = f" The log says more: {log}" if log else ""
            first = (str(cause).strip().splitlines() or [""])[0]
            said, code = f"internal error, {type(cause).__name__}: {first}.{where}", 1
        if json_lines.current_format() == json_lines.JSON:
            fields = {"error": type(cause).__name__, "exit_code": code}
            json_lines.write(sys.stderr, "ERROR", said, **fields)
        else:
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
