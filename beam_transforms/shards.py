"""Writing a shard of a dataset: its staged records, and the rows that describe its recordings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from audio import contract
from beam_transforms import staging
from beam_transforms.example_proto import parse_example
from beam_transforms.examples import read_tfrecord, write_tfrecord
from beam_transforms.plan import PlacedRecording, Shard
from beam_transforms.settings import Staged
from storage import files


@dataclasses.dataclass(frozen=True, kw_only=True)
class WrittenShard:
    """A description of what a shard's file contains.

    Attributes:
      split: Name of its split.
      name: Name of the file.
      recording_ids: Ids found in the file's records, in their order, each once.
      fingerprints: Fingerprints of the front ends found in the file's records, each once.
      seconds: Duration of its recordings.
      n_frames: Number of frames in all records.
      n_records: Number of records.
    """

    split: str
    name: str
    recording_ids: tuple[str, ...]
    fingerprints: tuple[str, ...]
    seconds: float
    n_frames: int
    n_records: int


def write_shard(shard: Shard, *, output: str, staging_folder: str) -> WrittenShard:
    """Writes a shard to the dataset, and the rows of its recordings to the staging folder."""
    path = files.join(output, contract.split_folder(shard.split), shard.name)
    recording_ids: dict[str, None] = {}
    fingerprints: dict[str, None] = {}
    rows = []
    with files.atomic_file(path) as target:
        for recording in shard.recordings:
            with files.open_read(staging.records_path(staging_folder, recording.key)) as records:
                for record in read_tfrecord(records):
                    recording_ids[parse_example(record, contract.RECORDING_ID).decode()] = None
                    fingerprints[parse_example(record, contract.FINGERPRINT).decode()] = None
                    write_tfrecord(target, record)
            rows.append(_row(recording, shard, staging_folder))
    files.write_text(_rows_path(staging_folder, shard.split, shard.name), json_lines(rows))
    return WrittenShard(
        split=shard.split,
        name=shard.name,
        recording_ids=tuple(recording_ids),
        fingerprints=tuple(fingerprints),
        seconds=sum(row[contract.DURATION_SECONDS] for row in rows),
        n_frames=sum(row["n_frames"] for row in rows),
        n_records=sum(row["n_records"] for row in rows),
    )


def json_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows as JSON, one on each line."""
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)


def read_lines(shards: Sequence[WrittenShard], staging_folder: str) -> Iterator[str]:
    """Yields the lines of recordings.jsonl, shard by shard."""
    for shard in shards:
        path = _rows_path(staging_folder, shard.split, shard.name)
        yield from files.read_text(path).splitlines(keepends=True)


def _row(recording: PlacedRecording, shard: Shard, staging_folder: str) -> dict[str, Any]:
    outcome = staging.outcome_path(staging_folder, recording.key)
    staged = Staged.from_json(files.read_text(outcome))
    return {
        **(staged.recording or {}),
        "source_uri": staged.source.uri,
        "source_bytes": staged.source.n_bytes,
        "key": recording.key,
        "split": shard.split,
        "shard": shard.name,
        "offset": recording.offset,
    }


def _rows_path(staging_folder: str, split: str, name: str) -> str:
    return files.join(staging_folder, "rows", f"{split}-{name}.jsonl")
