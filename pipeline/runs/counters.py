"""ROOT/runs/ID/counters.json: what a run did, in figures, for a monitor.

They are read from what the run's nodes left: a dataset's info, a model's history, a manifest. What
a node took from the cache counts as the run's, with the node's outcome beside it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Literal

import pydantic

from audio import contract
from pipeline.root.artifacts import serving_folder
from pipeline.root.metadata_store import outputs
from pipeline.root.paths import Layout
from storage import files
from storage.dataset_files import read_info

COUNTERS = "counters.json"


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class NodeCounters(_Strict):
    """One node of the run."""

    outcome: Literal["ran", "cached", "kept", "skipped", "failed"]
    seconds: float = pydantic.Field(ge=0, description="Of the last attempt.")


class Counters(_Strict):
    """Figures of a run; null where the run has not come to it, or does not do it."""

    format_version: int = 1
    run_id: str
    updated: float = pydantic.Field(description="Seconds since the epoch.")
    nodes: dict[str, NodeCounters]
    error: str | None = pydantic.Field(default=None, description="Class, of the last failure.")
    files: int | None = pydantic.Field(default=None, description="Input files that were found.")
    recordings_read: int | None = None
    recordings_rejected: int | None = None
    recordings_duplicate: int | None = None
    audio_seconds: float | None = pydantic.Field(default=None, description="Of what was read.")
    steps: int | None = pydantic.Field(default=None, description="Of the training.")
    windows: int | None = pydantic.Field(default=None, description="Read in these steps.")
    model_blessed: bool | None = None
    clips_published: int | None = None
    clips_refused: int | None = pydantic.Field(default=None, description="Faulty in all attempts.")
    clip_attempts: int | None = None


def write_counters(
    layout: Layout, run_id: str, nodes: Iterable[dict[str, Any]], error: str | None
) -> None:
    """Writes the counters of a run as it is now, whole or not at all.

    Args:
      layout: the root.
      run_id: the run.
      nodes: as in run.json.
      error: the class of what failed; None where nothing did.
    """
    rows = list(nodes)
    found: dict[str, Any] = {}
    for row in rows:
        if row["execution"] and row["node"] in _FIGURES:
            for kind, uri, properties in outputs(layout, row["execution"]):
                found |= _FIGURES[row["node"]](kind, uri, properties)
    counters = Counters(
        run_id=run_id,
        updated=round(time.time(), 3),
        nodes={row["node"]: {key: row[key] for key in ("outcome", "seconds")} for row in rows},  # type: ignore[misc]
        error=error,
        **found,
    )
    text = counters.model_dump_json(indent=2) + "\n"
    files.write_text(f"{layout.run_folder(run_id)}/{COUNTERS}", text)


def _of_dataset(kind: str, uri: str, _: Any) -> dict[str, Any]:
    if kind != "Examples":
        return {}
    info = read_info(uri)
    splits = info["splits"].values()
    return {
        "files": info["sources"],
        "recordings_read": sum(one["recordings"] for one in splits),
        "recordings_rejected": info["rejected"],
        "recordings_duplicate": info["duplicates"],
        "audio_seconds": round(sum(one["seconds"] for one in splits), 3),
    }


def _of_model(kind: str, uri: str, _: Any) -> dict[str, Any]:
    if kind != "Model":
        return {}
    model = serving_folder(uri)
    steps = int(files.read_json(files.join(model, contract.HISTORY))["epochs"][-1]["step"])
    batch = int(files.read_json(files.join(model, contract.MODEL_INFO))["train"]["batch_windows"])
    return {"steps": steps, "windows": steps * batch}


def _of_verdict(kind: str, _: str, properties: Any) -> dict[str, Any]:
    if kind != "ModelBlessing":
        return {}
    return {"model_blessed": bool(properties["blessed"].int_value)}


def _of_clips(_: str, uri: str, __: Any) -> dict[str, Any]:
    manifest = files.read_json(files.join(uri, contract.MANIFEST))
    entries = manifest["clips"] + manifest["unhealthy"]
    return {
        "clips_published": len(manifest["clips"]),
        "clips_refused": len(manifest["unhealthy"]),
        "clip_attempts": sum(len(entry["attempts"]) for entry in entries),
    }


_FIGURES = {
    "AudioExampleGen": _of_dataset,
    "Trainer": _of_model,
    "Evaluator": _of_verdict,
    "BatchGenerator": _of_clips,
}
