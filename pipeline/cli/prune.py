"""`nocturne prune`: removal of old runs from a pipeline root."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli import options
from pipeline.console.streams import printable


def prune(
    root: options.Root,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the folders instead of only listing them.")
    ] = False,
    keep_days: Annotated[
        float,
        typer.Option(min=0, metavar="NUMBER", help="Keep everything newer than this many days."),
    ] = 30,
    keep_runs: Annotated[
        int,
        typer.Option(
            min=1, metavar="NUMBER", help="Keep this many of the newest runs of each pipeline."
        ),
    ] = 5,
    as_json: options.AsJson = False,
    config: options.ConfigFiles = None,
    overrides: options.Overrides = None,
) -> None:
    """List or delete old runs that are no longer needed.

    Nothing is deleted without --delete. Runs with a blessed model or published clips stay, and so
    does everything that they, running runs and the newest runs refer to.

    Example: nocturne prune --root pipeline-root --keep-days 60
    """
    settings = options.configuration(config, overrides)
    with options.running("prune", aside=as_json):
        from pipeline.prune import remove
        from pipeline.root.paths import Layout

        layout = Layout.at(root, settings.metadata)
        sizes = remove.prune(layout, keep_days=keep_days, keep_runs=keep_runs, delete=delete)
    if as_json:
        options.print_json({"root": root, "deleted": delete, "folders": sizes})
        return
    lines = [f"{size / 1e6:10.3f} MB  {printable(path)}" for path, size in sizes.items()]
    total = f"{sum(sizes.values()) / 1e6:10.3f} MB  {'deleted' if delete else 'to delete'}"
    options.print_text("\n".join([*lines, total]))
