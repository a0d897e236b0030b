"""Writing a shard: its staged records one after the other, and the rows of its recordings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from audio import contract
from beam_transforms import staging
from beam_transforms.examples import read_tfrecord, recording_id, write_tfrecord
from beam_transforms.plan import Placed, Shard
from beam_transforms.settings import Staged
from storage import files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """A shard as it stands in its file.

    Attributes:
      split: where it is.
      name: of the file.
      recording_ids: the recordings whose records were found in it, in the file's order.
      seconds: of audio.
      frames: of all its records.
      records: how many.
    """

    split: str
    name: str
    recording_ids: tuple[str, ...]
    seconds: float
    frames: int
    records: int


def write_shard(shard: Shard, *, output: str, staging_folder: str) -> Written:
    """Writes one shard and, into the staging folder, its recordings' rows."""
    path = files.join(output, contract.split_folder(shard.split), shard.name)
    found: dict[str, None] = {}
    rows = []
    with files.atomic_file(path) as target:
        for placed in shard.recordings:
            with files.open_read(staging.records_path(staging_folder, placed.key)) as records:
                for record in read_tfrecord(records):
                    found[recording_id(record)] = None
                    write_tfrecord(target, record)
            rows.append(_row(placed, shard, staging_folder))
    text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    files.write_text(_rows_path(staging_folder, shard.split, shard.name), text)
    return Written(
        split=shard.split,
        name=shard.name,
        recording_ids=tuple(found),
        seconds=sum(row[contract.DURATION_SECONDS] for row in rows),
        frames=sum(row["n_frames"] for row in rows),
        records=sum(row["n_records"] for row in rows),
    )


def rows_of(written: Sequence[Written], staging_folder: str) -> Iterator[str]:
    """Yields the lines of recordings.jsonl, shard by shard."""
    for one in written:
        yield from files.read_text(_rows_path(staging_folder, one.split, one.name)).splitlines(
            keepends=True
        )


def _row(placed: Placed, shard: Shard, staging_folder: str) -> dict[str, Any]:
    outcome = staging.outcome_path(staging_folder, placed.key)
    staged = Staged.from_json(files.read_text(outcome))
    return {
        **(staged.recording or {}),
        "source_uri": staged.source.uri,
        "source_bytes": staged.source.n_bytes,
        "key": placed.key,
        "split": shard.split,
        "shard": shard.name,
        "offset": placed.offset,
    }


def _rows_path(staging_folder: str, split: str, name: str) -> str:
    return files.join(staging_folder, "rows", f"{split}-{name}.jsonl")
