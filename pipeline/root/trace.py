"""The history of a clip: from the manifest next to it, then from ML Metadata."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from audio import contract
from audio.errors import LineageError
from generator.manifest import Manifest
from pipeline.config.sections import MetadataSettings
from pipeline.root.history import history_of_artifact, open_metadata
from storage import files
from storage.dataset_files import RecordingRow, read_recordings
from storage.outputs import Output, open_output

Row = dict[str, Any]


def trace_clip(clip: str, settings: MetadataSettings | None = None) -> Row:
    """Returns the history of a generated clip.

    Args:
      clip: Path of a clip in the output folder of a finished run, local or gs://.
      settings: ML Metadata's server, if the pipelines use one.

    Returns:
      The keys clip, generate, model, audio and dataset (with its recordings). If a pipeline made
      the clip, also the keys runs (the steps that led to the model, newest first) and blessing.

    Raises:
      LineageError: There is no manifest, it does not list the clip, or the clip was modified.
    """
    folder, _, name = clip.rpartition("/")
    if not name or not files.exists(clip):
        raise LineageError(f"{clip}: no such file. Give a clip that Nocturne generated.")
    place = open_output(folder or ("/" if clip.startswith("/") else "."))
    manifest, entry = _read_entry(place, name, clip)
    traced = from_manifest(manifest, entry)
    if _sha256(clip) != entry["sha256"]:
        raise LineageError(
            f"{clip}: the file was modified after it was generated (its checksum does not match "
            f"{place.path}/{contract.MANIFEST})."
        )
    lineage = manifest["lineage"]
    if lineage:
        traced.update(_from_metadata(lineage, settings or MetadataSettings()))
    dataset = manifest["model"]["dataset"]
    traced["dataset"] = {**dataset, "recordings": _recordings(dataset["path"])}
    return traced


def _read_entry(place: Output, name: str, clip: str) -> tuple[Row, Row]:
    """Returns the manifest beside a clip, and the clip's entry in it."""
    content = place.read(contract.MANIFEST)
    if content is None:
        raise LineageError(
            f"{clip}: no {contract.MANIFEST} beside it. Give a clip in the folder that "
            "`nocturne generate` or a generation run wrote."
        )
    path = f"{place.path}/{contract.MANIFEST}"
    try:
        manifest = json.loads(content)
        Manifest.model_validate(manifest)
    except (ValueError, RecursionError) as error:
        raise LineageError(
            f"{clip}: {path} is damaged, or of another version ({type(error).__name__}). Copy the "
            "folder again, or use the version that wrote it."
        ) from error
    for entry in manifest["clips"]:
        if entry["file"] == name:
            return manifest, entry
    raise LineageError(f"{clip}: {path} does not list it.")


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with files.open_read(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def from_manifest(manifest: Row, entry: Row) -> Row:
    """Returns the part of a clip's history that its manifest contains.

    Args:
      manifest: The manifest.
      entry: The clip's entry in it.
    """
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
    """Returns the steps that led to the model, and its last verdict."""
    store = open_metadata(lineage["metadata"], settings)
    model = lineage["model_artifact"]
    verdicts = [
        artifact.custom_properties
        for artifact in store.get_artifacts_by_type("ModelBlessing")
        if artifact.custom_properties["current_model_id"].int_value == model
    ]
    return {
        "runs": [
            {
                "node": step.node,
                "execution": step.number,
                "run": step.run or None,
                "outputs": [artifact.uri for artifact in step.outputs],
            }
            for step in reversed(history_of_artifact(store, model).steps)
        ],
        "blessing": [
            {
                "blessed": bool(verdict["blessed"].int_value),
                "reasons": verdict["reasons"].string_value.splitlines(),
            }
            for verdict in verdicts[-1:]
        ],
    }


def trace_lines(traced: Row) -> list[str]:
    """Returns the history of a clip, as trace_clip returned it, as lines of text."""
    return [*clip_lines(traced), *_recording_lines(traced["dataset"]["recordings"])]


def clip_lines(traced: Row) -> list[str]:
    """Returns the same lines without the recordings."""
    clip, model, dataset = traced["clip"], traced["model"], traced["dataset"]
    audio, generate, primer = traced["audio"], traced["generate"], clip["primer"]
    temperature = generate["temperature"]
    lines = [
        f"clip       {clip['file']}  {clip['duration_seconds']:.1f} s  "
        f"sha256 {clip['sha256'][:16]}",
        f"seed       {clip['seed']}  (run seed {generate['seed']}, clip {clip['index']}, "
        f"temperature {'of the model' if temperature is None else f'{temperature:g}'})",
        f"primer     {primer.get('file') or primer.get('uri')}"
        + (f"  from frame {primer['first_frame']}" if "first_frame" in primer else ""),
        f"model      {model['model_id']}  {model['path']}",
    ]
    for verdict in traced.get("blessing", []):
        heading = "blessed" if verdict["blessed"] else "refused"
        lines += [
            f"{heading if i == 0 else '':<10} {reason}"
            for i, reason in enumerate(verdict["reasons"])
        ]
    for run in traced.get("runs", []):
        lines.append(f"made by    {run['node']}  execution {run['execution']}  run {run['run']}")
    lines.append(
        f"audio      {audio['fingerprint']}  {audio['sample_rate']} Hz, {audio['n_mels']} mels, "
        f"hop {audio['hop_length']}"
    )
    lines.append(f"dataset    {dataset['dataset_id']}  {dataset['path']}")
    return lines


def _recording_lines(recordings: list[RecordingRow] | None) -> list[str]:
    if recordings is None:
        return ["trained    on recordings that are no longer listed: the dataset was removed"]
    training = [row for row in recordings if row["split"] == contract.TRAIN]
    minutes = sum(row["duration_seconds"] for row in training) / 60
    return [
        f"trained    on {len(training)} recordings, {minutes:.1f} minutes:",
        *(f"             {row['recording_id'][:12]}  {row['source_uri']}" for row in training),
    ]
