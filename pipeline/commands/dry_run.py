"""What a command would do, without doing it."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from audio import contract
from pipeline.config.load import Config
from pipeline.console.terminal import Console

if TYPE_CHECKING:
    from beam_transforms.settings import Source

_SHOWN = 10


def preparation(console: Console, sources: Sequence[Source], output: str) -> dict[str, Any]:
    """Prints and returns which files a preparation would read, and whether its output is free."""
    from storage import files

    kinds = collections.Counter(
        pathlib.Path(source.uri).suffix.lower() or "?" for source in sources
    )
    found: dict[str, Any] = {
        "files": len(sources),
        "bytes": sum(source.n_bytes for source in sources),
        "kinds": dict(sorted(kinds.items())),
        "output": output,
        "output_finished": files.exists(files.join(output, contract.COMPLETED)),
    }
    said = ", ".join(f"{count} {kind}" for kind, count in found["kinds"].items())
    console.line(f"  would read {found['files']} files, {found['bytes'] / 1e6:.1f} MB: {said}")
    for source in sources[:_SHOWN]:
        console.line(f"    {source.uri}")
    if len(sources) > _SHOWN:
        console.line(f"    ... and {len(sources) - _SHOWN} more")
    console.line(f"  would write to {output}{_taken(found['output_finished'])}")
    return found


def generation(console: Console, model: str, output: str, config: Config) -> dict[str, Any]:
    """Prints and returns which clips a generation would make.

    Raises:
      IncompleteError, ConfigMismatchError: the model cannot be used.
    """
    from generator.inference import load_model
    from generator.requests import NO_PRIMER, choose_primer, plan_clips
    from storage import files

    settings = config.generate
    with console.stage("load model"):
        loaded = load_model(model)

    def own_primer(seed: int) -> str:
        source = json.loads(loaded.primer_sources[choose_primer(seed, len(loaded.primers))])
        return f"{source['uri']}, frame {source['first_frame']}"

    found: dict[str, Any] = {
        "model_id": loaded.info["model_id"],
        "seconds": settings.seconds,
        "output": output,
        "output_finished": files.exists(files.join(output, contract.COMPLETED)),
        "clips": [
            {**dataclasses.asdict(clip), "primer": settings.primer or own_primer(clip.seed)}
            for clip in plan_clips(settings)
        ],
    }
    console.line(
        f"  would make {settings.clips} clips of {settings.seconds:g} s, {settings.format}, with "
        f"model {found['model_id']}"
    )
    for clip in found["clips"][:_SHOWN]:
        start = "no primer" if clip["primer"] == NO_PRIMER else clip["primer"]
        console.line(f"    {clip['name']}  seed {clip['seed']}  after {start}")
    if settings.clips > _SHOWN:
        console.line(f"    ... and {settings.clips - _SHOWN} more")
    console.line(f"  would write to {output}{_taken(found['output_finished'])}")
    return found


def _taken(finished: bool) -> str:
    return ", which holds a finished run already: that would be refused" if finished else ""
