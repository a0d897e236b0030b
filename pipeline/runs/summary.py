"""ROOT/runs/ID/run.json: the nodes of a run and its figures, for people and for monitoring.

The figures come from what the nodes wrote: a dataset's info, a model's history, a manifest. A
result from the cache counts like one of the run itself; the node's outcome says which it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Literal

import pydantic

from audio import contract
from pipeline.root.artifacts import serving_folder
from pipeline.root.paths import RUN_SUMMARY, Layout
from storage import files
from storage.dataset_files import read_info

Outcome = Literal["ran", "cached", "kept", "skipped", "failed"]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class NodeRun(_Strict):
    """The last execution of a node in a run."""

    node: str = pydantic.Field(description="Name of the node.")
    outcome: Outcome = pydantic.Field(
        description="`ran`; `cached`: the result of an earlier run was used; `kept`: this run had "
        "finished the node before; `skipped`: an input is missing, or a Resolver found nothing; "
        "`failed`."
    )
    seconds: float = pydantic.Field(ge=0, description="Duration of the last attempt.")
    execution: int = pydantic.Field(description="Id in ML Metadata, or 0 if there is none.")


class RunSummary(_Strict):
    """Summary of a run. A figure is null unless the node that it comes from has run."""

    format_version: int = 1
    run_id: str
    updated: float = pydantic.Field(description="Time of writing, in seconds since 1970.")
    nodes: list[NodeRun]
    error: str | None = pydantic.Field(None, description="Class name of the last error.")
    files: int | None = pydantic.Field(None, description="Number of input files.")
    recordings_read: int | None = None
    recordings_rejected: int | None = None
    recordings_duplicate: int | None = None
    audio_seconds: float | None = pydantic.Field(
        None, description="Total length of the recordings that were read."
    )
    steps: int | None = pydantic.Field(None, description="Number of training steps.")
    windows: int | None = pydantic.Field(
        None, description="Number of windows that were read in these steps."
    )
    model_blessed: bool | None = None
    clips_published: int | None = None
    clips_refused: int | None = pydantic.Field(
        None, description="Number of clips that had a fault in every attempt."
    )
    clip_attempts: int | None = None


def read_nodes(layout: Layout, run_id: str) -> list[NodeRun]:
    """Returns the nodes in the run.json of a run, or none if there is no such file."""
    path = f"{layout.run_folder(run_id)}/{RUN_SUMMARY}"
    if not files.exists(path):
        return []
    return [NodeRun(**row) for row in files.read_json(path)["nodes"]]


def write_summary(
    layout: Layout, run_id: str, nodes: Iterable[NodeRun], error: str | None = None
) -> None:
    """Writes run.json, completely or not at all.

    Args:
      layout: The pipeline root.
      run_id: Id of the run.
      nodes: Nodes that have run so far.
      error: Class name of the last error, or None.
    """
    from pipeline.root.metadata_store import execution_outputs

    nodes = list(nodes)
    figures: dict[str, Any] = {}
    for node in nodes:
        if node.execution and node.node in _FIGURES:
            for output in execution_outputs(layout, node.execution):
                figures |= _FIGURES[node.node](*output)
    summary = RunSummary(
        run_id=run_id, updated=round(time.time(), 3), nodes=nodes, error=error, **figures
    )
    path = f"{layout.run_folder(run_id)}/{RUN_SUMMARY}"
    files.write_text(path, summary.model_dump_json(indent=2) + "\n")


def _dataset_figures(kind: str, uri: str, _: Any) -> dict[str, Any]:
    if kind != "Examples":
        return {}
    info = read_info(uri)
    splits = info["splits"].values()
    return {
        "files": info["sources"],
        "recordings_read": sum(split["recordings"] for split in splits),
        "recordings_rejected": info["rejected"],
        "recordings_duplicate": info["duplicates"],
        "audio_seconds": round(sum(split["seconds"] for split in splits), 3),
    }


def _model_figures(kind: str, uri: str, _: Any) -> dict[str, Any]:
    if kind != "Model":
        return {}
    folder = serving_folder(uri)
    steps = int(files.read_json(files.join(folder, contract.HISTORY))["epochs"][-1]["step"])
    batch = int(files.read_json(files.join(folder, contract.MODEL_INFO))["train"]["batch_windows"])
    return {"steps": steps, "windows": steps * batch}


def _verdict_figures(kind: str, _: str, properties: Any) -> dict[str, Any]:
    if kind != "ModelBlessing":
        return {}
    return {"model_blessed": bool(properties["blessed"].int_value)}


def _clip_figures(_: str, uri: str, __: Any) -> dict[str, Any]:
    manifest = files.read_json(files.join(uri, contract.MANIFEST))
    entries = manifest["clips"] + manifest["unhealthy"]
    return {
        "clips_published": len(manifest["clips"]),
        "clips_refused": len(manifest["unhealthy"]),
        "clip_attempts": sum(len(entry["attempts"]) for entry in entries),
    }


# The function that reads the figures from the outputs of each node.
_FIGURES = {
    "AudioExampleGen": _dataset_figures,
    "Trainer": _model_figures,
    "Evaluator": _verdict_figures,
    "BatchGenerator": _clip_figures,
}
