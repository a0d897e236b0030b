"""`nocturne prune`: what of a root may go."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from pipeline.cli.options import (
    AsJson,
    ConfigFiles,
    Overrides,
    Root,
    configuration,
    print_json,
    running,
)


def prune(
    root: Root,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; else it is shown.")] = False,
    keep_days: Annotated[float, typer.Option(help="What is younger stays.")] = 30,
    keep_runs: Annotated[
        int, typer.Option(help="So many of the newest runs of each pipeline stay.")
    ] = 5,
    clips: Annotated[
        list[str] | None,
        typer.Option(help="A folder of clips that `nocturne generate` made; what they need stays."),
    ] = None,
    forget_removed: Annotated[
        bool,
        typer.Option("--forget-removed", help="Clips that are gone no longer hold their model."),
    ] = False,
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Shows what of a pipelines' root nothing needs any more, and removes it with --delete.

    Blessed models stay, and all that a published clip refers to, running runs, and the last ones.

    Example: nocturne prune --root pipeline-root --keep-days 60
    """
    settings = configuration(config, overrides)
    with running("prune"):
        from pipeline.prune import remove as pruning
        from pipeline.prune.plan import total
        from pipeline.root.paths import Layout

        decisions = pruning.prune(
            Layout.at(root, settings.metadata),
            keep_days=keep_days,
            keep_runs=keep_runs,
            delete=delete,
            clips=clips or (),
            forget_removed=forget_removed,
        )
    freed, kept = total(decisions, keep=False), total(decisions, keep=True)
    if as_json:
        rows = [dataclasses.asdict(one) for one in decisions]
        print_json({"root": root, "deleted": delete, "bytes_going": freed, "bytes_kept": kept,
                    "folders": rows})  # fmt: skip
        return
    for one in sorted(decisions, key=lambda one: one.keep):
        print(f"{'keep' if one.keep else 'goes':<5} {one.bytes / 1e6:10.3f} MB  {one.path}"
              f"  ({one.reason})")  # fmt: skip
    word = "removed" if delete else "would go; --delete removes it"
    print(f"{freed / 1e6:.3f} MB {word}. {kept / 1e6:.3f} MB stay.")
