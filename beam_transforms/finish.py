"""The end of a preparation: shards against the plan, the tables, the info and the marker."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

from audio import contract
from audio.config import AudioConfig
from audio.errors import InputError, TooManyRejectedError
from beam_transforms import staging
from beam_transforms.card import data_card
from beam_transforms.plan import Plan
from beam_transforms.settings import PrepareSettings
from beam_transforms.shards import WrittenShard, json_lines, read_lines
from storage import files
from storage.dataset_files import read_info, read_recordings

# Files of the staging folder. Their names do not end as those of the results of single files,
# which are counted while a job runs.
PASSED_OVER = "passed_over"
_FAILED = "failed"


def finish_dataset(
    shards: Sequence[WrittenShard],
    *,
    plan: Plan,
    output: str,
    staging_folder: str,
    audio: AudioConfig,
    settings: PrepareSettings,
    previous: str | None = None,
) -> int:
    """Writes the tables and, if enough files could be used, the info, the card and the marker.

    Returns:
      The number of shards of the dataset.
    """
    files.write_text(files.join(output, contract.REJECTED), json_lines(plan.rejected))
    shards = sorted(shards, key=lambda shard: (contract.SPLITS.index(shard.split), shard.name))
    info = _dataset_info(plan, shards, audio=audio, settings=settings)
    if files.exists(files.join(staging_folder, PASSED_OVER)):
        info["passed_over"] = files.read_json(files.join(staging_folder, PASSED_OVER))
    if not plan.is_acceptable(settings):
        failed = {**info, "mistaken": plan.n_mistaken}
        files.write_text(files.join(staging_folder, _FAILED), json.dumps(failed))
        return 0
    _check_shards(plan, shards, output, fingerprint=audio.fingerprint)
    with files.atomic_file(files.join(output, contract.RECORDINGS)) as target:
        for line in read_lines(shards, staging_folder):
            target.write(line.encode("utf-8", "surrogateescape"))
    before = read_recordings(previous) if previous else None
    card = data_card(read_recordings(output), previous=before)
    for name, content in ((contract.DATASET_INFO, info), (contract.DATA_CARD, card)):
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        files.write_text(files.join(output, name), text)
    files.write_text(files.join(output, contract.COMPLETED), plan.dataset_id + "\n")
    return len(shards)


def _dataset_info(
    plan: Plan, shards: Sequence[WrittenShard], *, audio: AudioConfig, settings: PrepareSettings
) -> dict[str, Any]:
    """Returns the content of dataset_info.json, which does not depend on the time."""
    splits = {}
    for split in contract.SPLITS:
        planned = [shard for shard in plan.shards if shard.split == split]
        written = [shard for shard in shards if shard.split == split]
        splits[split] = {
            "recordings": sum(len(shard.recordings) for shard in planned),
            "seconds": round(sum(shard.seconds for shard in written), 3),
            "frames": sum(shard.n_frames for shard in written),
            "records": sum(shard.n_records for shard in written),
            "bytes": sum(shard.n_bytes for shard in planned),
            "shards": len(planned),
        }
    return {
        "format_version": contract.FORMAT_VERSION,
        "dataset_id": plan.dataset_id,
        "fingerprint": audio.fingerprint,
        "audio": json.loads(audio.to_json()),
        "prepare": _without_infinities(dataclasses.asdict(settings)),
        "splits": splits,
        "sources": plan.n_sources,
        "rejected": plan.n_failed,
        "not_read": plan.n_not_read,
        "duplicates": len(plan.rejected) - plan.n_failed,
    }


def _without_infinities(values: dict[str, Any]) -> dict[str, Any]:
    """Returns values with None for infinity, which JSON does not have."""
    return {name: None if value == math.inf else value for name, value in values.items()}


def _check_shards(
    plan: Plan, shards: Sequence[WrittenShard], output: str, *, fingerprint: str
) -> None:
    """Compares the shards with the plan, and their records with the front end.

    The id of a recording is a hash of its PCM, so one id in two shards is the same audio twice.

    Raises:
      RuntimeError: A recording is in two shards or in the wrong one, or a shard has the wrong size
        or records of another front end. This is an error of Nocturne's, and leaves the dataset
        without its marker.
    """
    for written in shards:
        others = sorted({*written.fingerprints} - {fingerprint})
        if others:
            raise RuntimeError(
                f"mixture: {written.split} {written.name} has records of front end {others[0]}, "
                f"wanted {fingerprint}"
            )
    planned = {
        (shard.split, shard.name, recording.recording_id)
        for shard in plan.shards
        for recording in shard.recordings
    }
    found = [
        (shard.split, shard.name, recording_id)
        for shard in shards
        for recording_id in shard.recording_ids
    ]
    counts = collections.Counter(recording_id for _, _, recording_id in found)
    repeated = sorted(recording_id for recording_id, count in counts.items() if count > 1)
    if repeated:
        raise RuntimeError(f"leakage: recording {repeated[0]} is in {counts[repeated[0]]} shards")
    misplaced = sorted(planned.symmetric_difference(found))
    if misplaced:
        split, name, recording_id = misplaced[0]
        raise RuntimeError(
            f"leakage: recording {recording_id} is not where it was planned: {split} {name}"
        )
    for shard in plan.shards:
        path = files.join(output, contract.split_folder(shard.split), shard.name)
        size = files.size(path)
        if size != shard.n_bytes:
            raise RuntimeError(f"{path}: wanted {shard.n_bytes} bytes, found {size}")


def check_finished(
    output: str, settings: PrepareSettings, *, staging_folder: str | None = None
) -> dict[str, Any]:
    """Returns the dataset's info after the job, and removes the staging folder.

    Raises:
      InputError: No file could be used.
      TooManyRejectedError: The share of rejected files exceeds settings.max_rejected_share.
    """
    folder = staging_folder or files.join(output, staging.FOLDER)
    if files.exists(files.join(output, contract.COMPLETED)):
        files.remove_tree(folder)
        return read_info(output)
    info = files.read_json(files.join(folder, _FAILED))
    n_rejected = info["rejected"] - info["mistaken"]
    n_sources = info["sources"] - info["mistaken"]
    table = files.join(output, contract.REJECTED)
    if not any(split["recordings"] for split in info["splits"].values()):
        raise InputError(
            f"none of {info['sources']} files could be used; the reasons are in {table}."
        )
    raise TooManyRejectedError(
        f"{n_rejected} of {n_sources} files were rejected, more than prepare.max_rejected_share="
        f"{settings.max_rejected_share:g} allows; the reasons are in {table}. Repair or remove "
        "these files, or raise the share; a rerun decodes only what changed."
    )
