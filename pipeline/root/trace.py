"""From a clip back to what it was made from: the manifest beside it, then ML Metadata."""

from __future__ import annotations

import hashlib
import pathlib
from typing import Any

from audio import contract
from audio.errors import LineageError
from pipeline.config.sections import MetadataSettings
from pipeline.root.history import open_metadata
from storage import files
from storage.dataset_files import RecordingRow, read_recordings

Row = dict[str, Any]


def trace_clip(clip: str, settings: MetadataSettings | None = None) -> Row:
    """Returns the history of a generated clip.

    Args:
      clip: the path of a clip in a folder that a finished run wrote.
      settings: where ML Metadata is, which only one on a server needs.

    Returns:
      clip, generate, model, audio, dataset (with its recordings), and, where a pipeline made it,
      runs and blessing out of ML Metadata.

    Raises:
      LineageError: there is no manifest, it does not list the clip, or the clip was altered.
    """
    path = pathlib.Path(clip)
    if not path.is_file():
        raise LineageError(f"{clip}: no such file. Give a clip that Nocturne generated.")
    manifest_path = path.parent / contract.MANIFEST
    if not manifest_path.exists():
        raise LineageError(f"{clip}: there is no {contract.MANIFEST} beside it to trace it by.")
    manifest = files.read_json(str(manifest_path))
    entry = next((one for one in manifest["clips"] if one["file"] == path.name), None)
    if entry is None:
        raise LineageError(f"{clip}: {manifest_path} does not list it.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
        raise LineageError(f"{clip}: its bytes differ from what {manifest_path} says. Not ours.")
    found = from_manifest(manifest, entry)
    lineage = manifest["lineage"]
    if lineage:
        found.update(_from_metadata(lineage, settings or MetadataSettings()))
    dataset = manifest["model"]["dataset"]
    found["dataset"] = {**dataset, "recordings": _recordings(dataset["path"])}
    return found


def from_manifest(manifest: Row, entry: Row) -> Row:
    """Returns what a manifest alone says of one of its clips."""
    return {
        "clip": entry,
        "generate": manifest["generate"],
        "model": manifest["model"],
        "audio": {**manifest["audio"], "fingerprint": manifest["model"]["fingerprint"]},
        "dataset": manifest["model"]["dataset"],
    }


def _recordings(dataset: str) -> list[RecordingRow] | None:
    if not files.exists(files.join(dataset, contract.RECORDINGS)):
        return None
    return list(read_recordings(dataset))


def _from_metadata(lineage: Row, settings: MetadataSettings) -> Row:
    """Walks ML Metadata up from the model: who made it, from what, and was it blessed."""
    store = open_metadata(lineage["metadata"], settings)
    model = lineage["model_artifact"]
    runs = []
    todo, seen = [model], set()
    while todo:
        artifact = todo.pop(0)
        execution = _producer(store, artifact)
        if execution is None or execution.id in seen:
            continue
        seen.add(execution.id)
        runs.append(_describe(store, execution))
        todo += _inputs(store, execution)
    blessings = [
        artifact.custom_properties
        for artifact in store.get_artifacts_by_type("ModelBlessing")
        if artifact.custom_properties["current_model_id"].int_value == model
    ]
    return {
        "runs": runs,
        "blessing": [
            {
                "blessed": bool(one["blessed"].int_value),
                "reasons": one["reasons"].string_value.splitlines(),
            }
            for one in blessings[-1:]
        ],
    }


def _producer(store: Any, artifact: int) -> Any:
    events = store.get_events_by_artifact_ids([artifact])
    made = [event.execution_id for event in events if event.type == event.OUTPUT]
    return store.get_executions_by_id(made[:1])[0] if made else None


def _inputs(store: Any, execution: Any) -> list[int]:
    events = store.get_events_by_execution_ids([execution.id])
    return [event.artifact_id for event in events if event.type == event.INPUT]


def _describe(store: Any, execution: Any) -> Row:
    contexts = store.get_contexts_by_execution(execution.id)
    run = [one.name for one in contexts if one.type == "pipeline_run"]
    events = store.get_events_by_execution_ids([execution.id])
    outputs = [event.artifact_id for event in events if event.type == event.OUTPUT]
    return {
        "node": execution.type.rpartition(".")[2],
        "execution": execution.id,
        "run": run[0] if run else None,
        "outputs": [artifact.uri for artifact in store.get_artifacts_by_id(outputs)],
    }


def _temperature(generate: Row) -> str:
    given = generate["temperature"]
    return "of the model" if given is None else f"{given:g}"


def trace_lines(found: Row) -> list[str]:
    """Returns a traced history as lines of text."""
    return [*clip_lines(found), *_learned(found["dataset"]["recordings"])]


def clip_lines(found: Row) -> list[str]:
    """Returns what render does, but for the recordings."""
    clip, model, dataset = found["clip"], found["model"], found["dataset"]
    primer = clip["primer"]
    audio, generate = found["audio"], found["generate"]
    lines = [
        f"clip       {clip['file']}  {clip['duration_seconds']:.1f} s  "
        f"sha256 {clip['sha256'][:16]}",
        f"seed       {clip['seed']}  (run seed {generate['seed']}, clip {clip['index']}, "
        f"temperature {_temperature(generate)})",
        f"primer     {primer.get('file') or primer.get('uri')}"
        + (f"  from frame {primer['first_frame']}" if "first_frame" in primer else ""),
        f"model      {model['model_id']}  {model['path']}",
    ]
    for blessing in found.get("blessing", []):
        word = "blessed" if blessing["blessed"] else "not blessed"
        lines += [
            f"{word if not i else '':<10} {text}" for i, text in enumerate(blessing["reasons"])
        ]
    for run in found.get("runs", []):
        lines.append(f"made by    {run['node']}  execution {run['execution']}  run {run['run']}")
    lines.append(
        f"audio      {audio['fingerprint']}  {audio['sample_rate']} Hz, {audio['n_mels']} mels, "
        f"hop {audio['hop_length']}"
    )
    lines.append(f"dataset    {dataset['dataset_id']}  {dataset['path']}")
    return lines


def _learned(recordings: list[RecordingRow] | None) -> list[str]:
    if recordings is None:
        return ["learned    from recordings that are no longer listed: the dataset is gone"]
    learned = [row for row in recordings if row["split"] == contract.TRAIN]
    minutes = sum(row["duration_seconds"] for row in learned) / 60
    return [
        f"learned    from {len(learned)} recordings, {minutes:.1f} minutes:",
        *(f"             {row['recording_id'][:12]}  {row['source_uri']}" for row in learned),
    ]
