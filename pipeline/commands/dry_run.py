"""`--dry-run`: shows what a command would do, without doing it."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from audio import contract
from pipeline.commands.stages import print_passed_over
from pipeline.config.load import Config
from pipeline.console.terminal import Console
from storage import files

if TYPE_CHECKING:
    from beam_transforms.sources import FoundSources

_SHOWN = 10  # lines of a list that are printed


def plan_preparation(console: Console, found: FoundSources, output: str) -> dict[str, Any]:
    """Prints and returns which files a preparation would read, and whether its output is free."""
    sources = found.sources
    suffixes = (pathlib.Path(source.uri).suffix.lower() or "?" for source in sources)
    plan: dict[str, Any] = {
        "files": len(sources),
        "bytes": sum(source.n_bytes for source in sources),
        "kinds": dict(sorted(collections.Counter(suffixes).items())),
        **({"passed_over": found.passed_over} if found.passed_over else {}),
        **_output(output),
    }
    kinds = ", ".join(f"{count} {kind}" for kind, count in plan["kinds"].items())
    console.line(f"  would read {plan['files']} files, {plan['bytes'] / 1e6:.1f} MB: {kinds}")
    print_passed_over(console, found.passed_over)
    _print_list(console, [source.uri for source in sources], plan)
    return plan


def plan_generation(console: Console, model: str, output: str, config: Config) -> dict[str, Any]:
    """Prints and returns which clips a generation run would make.

    Raises:
      IncompleteError, ConfigMismatchError: The model cannot be used.
    """
    from generator.inference import load_model
    from generator.requests import choose_primer, plan_clips

    settings = config.generate
    with console.stage("load model"):
        loaded = load_model(model)

    def stored_primer(seed: int) -> str:
        source = json.loads(loaded.primer_sources[choose_primer(seed, len(loaded.primers))])
        return f"{source['uri']}, frame {source['first_frame']}"

    plan: dict[str, Any] = {
        "model_id": loaded.info["model_id"],
        "seconds": settings.seconds,
        **_output(output),
        "clips": [
            {**dataclasses.asdict(clip), "primer": settings.primer or stored_primer(clip.seed)}
            for clip in plan_clips(settings)
        ],
    }
    console.line(
        f"  would make {settings.clips} clips of {settings.seconds:g} s, {settings.format}, with "
        f"model {plan['model_id']}"
    )
    lines = [
        f"{clip['name']}  seed {clip['seed']}  primer {clip['primer']}" for clip in plan["clips"]
    ]
    _print_list(console, lines, plan)
    return plan


def _output(output: str) -> dict[str, Any]:
    finished = files.exists(files.join(output, contract.COMPLETED))
    return {"output": output, "output_finished": finished}


def _print_list(console: Console, lines: Sequence[str], plan: dict[str, Any]) -> None:
    for line in lines[:_SHOWN]:
        console.line(f"    {line}")
    if len(lines) > _SHOWN:
        console.line(f"    ... and {len(lines) - _SHOWN} more")
    taken = " would be refused, because it holds a finished run" if plan["output_finished"] else ""
    console.line(f"  output {plan['output']}{taken}")
