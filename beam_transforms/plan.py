"""From what became of each source to what the dataset holds: a pure function."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from audio import contract
from beam_transforms.settings import PrepareSettings, Staged
from beam_transforms.splits import assign_splits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of a split: the staged sources whose records it holds, in order."""

    split: str
    name: str
    keys: tuple[str, ...]
    n_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The dataset to be.

    Attributes:
      recordings: one row a recording that is kept, sorted by id.
      rejected: one row a file that is not, sorted by uri.
      shards: all files of all splits.
      n_sources: files that were looked at.
    """

    recordings: tuple[dict[str, Any], ...]
    rejected: tuple[dict[str, Any], ...]
    shards: tuple[Shard, ...]
    n_sources: int

    @property
    def n_failed(self) -> int:
        """Rejected files; the same audio under a second name is no failure."""
        return sum(row["error"] != DUPLICATE for row in self.rejected)

    @property
    def dataset_id(self) -> str:
        """12 hex digits: which recordings, and in which split."""
        rows = [(row["recording_id"], row["split"]) for row in self.recordings]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]


DUPLICATE = "Duplicate"


def plan_dataset(
    staged: Iterable[Staged],
    *,
    settings: PrepareSettings,
    previous: Mapping[str, str] | None = None,
) -> Plan:
    """Decides duplicates, splits and shards from the outcomes of all sources.

    Args:
      staged: the outcomes, in any order.
      settings: eval_share and shard_bytes.
      previous: splits of an earlier version of the dataset, by recording id.
    """
    outcomes = sorted(staged, key=lambda one: one.source.uri)
    rejected = [one.rejection for one in outcomes if one.rejection]
    kept: dict[str, Staged] = {}
    for one in outcomes:
        if one.recording:
            first = kept.setdefault(one.recording["recording_id"], one)
            if first is not one:
                rejected.append(_duplicate(one, first))
    splits = assign_splits(kept, eval_share=settings.eval_share, previous=previous)
    rows = [
        {
            **(kept[name].recording or {}),
            "source_uri": kept[name].source.uri,
            "source_bytes": kept[name].source.n_bytes,
            "split": splits[name],
            "key": kept[name].key,
        }
        for name in sorted(kept)
    ]
    shards = tuple(_assign_shards(rows, settings.shard_bytes))
    return Plan(
        recordings=tuple(rows),
        rejected=tuple(sorted(rejected, key=lambda row: row["uri"])),
        shards=shards,
        n_sources=len(outcomes),
    )


def _duplicate(one: Staged, first: Staged) -> dict[str, Any]:
    return {
        "uri": one.source.uri,
        "stage": "plan",
        "error": DUPLICATE,
        "message": f"the same audio as {first.source.uri}, which is kept",
        "bytes": one.source.n_bytes,
        "sha256": None,
        "remedy": "Nothing needs to be done.",
    }


def _assign_shards(rows: Iterable[dict[str, Any]], shard_bytes: int) -> Iterable[Shard]:
    """Yields the shards of all splits; writes `shard` and `offset` into the rows."""
    for split in contract.SPLITS:
        # An empty split still has a file: readers of all splits need not know.
        groups: list[list[dict[str, Any]]] = [[]]
        filled = 0
        for row in rows:
            if row["split"] != split:
                continue
            # A recording is never cut over two shards.
            if filled >= shard_bytes:
                groups.append([])
                filled = 0
            row["offset"] = filled
            groups[-1].append(row)
            filled += row["n_bytes"]
        for index, group in enumerate(groups):
            name = contract.shard_name(index, len(groups))
            for row in group:
                row["shard"] = name
            keys = tuple(row["key"] for row in group)
            n_bytes = sum(row["n_bytes"] for row in group)
            yield Shard(split=split, name=name, keys=keys, n_bytes=n_bytes)


def dataset_info(plan: Plan, *, audio: Any, settings: PrepareSettings) -> dict[str, Any]:
    """Returns what dataset_info.json holds: configuration, counts and sums, no clock."""
    splits = {}
    for split in contract.SPLITS:
        rows = [row for row in plan.recordings if row["split"] == split]
        splits[split] = {
            "recordings": len(rows),
            "seconds": round(sum(row["duration_seconds"] for row in rows), 3),
            "frames": sum(row["n_frames"] for row in rows),
            "records": sum(row["n_records"] for row in rows),
            "bytes": sum(row["n_bytes"] for row in rows),
            "shards": sum(shard.split == split for shard in plan.shards),
        }
    return {
        "format_version": contract.FORMAT_VERSION,
        "dataset_id": plan.dataset_id,
        "fingerprint": audio.fingerprint,
        "audio": json.loads(audio.to_json()),
        "prepare": dataclasses.asdict(settings),
        "splits": splits,
        "sources": plan.n_sources,
        "rejected": plan.n_failed,
        "duplicates": len(plan.rejected) - plan.n_failed,
    }
