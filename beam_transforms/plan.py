"""From what became of each source to what the dataset holds: a pure function.

Only what the decision needs passes through here, some 300 bytes a file: what else is known of a
recording stays in its staged file, where the writer of its shard finds it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from audio import contract
from beam_transforms.settings import PrepareSettings, Staged
from beam_transforms.splits import assign_splits

# A shard is closed once it holds this many bytes.
SHARD_BYTES = 64_000_000


class Outcome(NamedTuple):
    """What became of one source, in short.

    Attributes:
      uri: of the source.
      source_bytes: its size.
      key: of its staged files.
      recording_id: of the recording; None where it was rejected.
      n_bytes: of its records.
      rejection: the row of the table of rejected files; None where it was prepared.
    """

    uri: str
    source_bytes: int
    key: str
    recording_id: str | None
    n_bytes: int
    rejection: dict[str, Any] | None

    @classmethod
    def of(cls, staged: Staged) -> Outcome:
        """Returns the outcome of a staged source."""
        recording = staged.recording or {"recording_id": None, "n_bytes": 0}
        return cls(
            uri=staged.source.uri,
            source_bytes=staged.source.n_bytes,
            key=staged.key,
            recording_id=recording["recording_id"],
            n_bytes=recording["n_bytes"],
            rejection=staged.rejection,
        )


class Placed(NamedTuple):
    """A recording's place in its shard: its staged files, its id, and where its records begin."""

    key: str
    recording_id: str
    offset: int


class Shard(NamedTuple):
    """One file of a split: the recordings that it holds, in order."""

    split: str
    name: str
    recordings: tuple[Placed, ...]
    n_bytes: int


class Plan(NamedTuple):
    """The dataset to be.

    Attributes:
      shards: all files of all splits; within a split, recordings are in the order of their ids.
      rejected: one row a file that is not kept, sorted by uri.
      n_sources: files that were looked at.
    """

    shards: tuple[Shard, ...]
    rejected: tuple[dict[str, Any], ...]
    n_sources: int

    @property
    def n_recordings(self) -> int:
        """Recordings that are kept."""
        return sum(len(shard.recordings) for shard in self.shards)

    @property
    def n_failed(self) -> int:
        """Rejected files; the same audio under a second name is no failure."""
        return sum(row["error"] != DUPLICATE for row in self.rejected)

    @property
    def dataset_id(self) -> str:
        """12 hex digits: which recordings, and in which split."""
        rows = sorted(
            (placed.recording_id, shard.split)
            for shard in self.shards
            for placed in shard.recordings
        )
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]


DUPLICATE = "Duplicate"


def plan_dataset(
    outcomes: Iterable[Outcome],
    *,
    settings: PrepareSettings,
    previous: Mapping[str, str] | None = None,
) -> Plan:
    """Decides duplicates, splits and shards from the outcomes of all sources.

    Args:
      outcomes: in any order.
      settings: eval_share and eval_fold.
      previous: splits of an earlier version of the dataset, by recording id.
    """
    ordered = sorted(outcomes, key=lambda one: one.uri)
    rejected = [one.rejection for one in ordered if one.rejection]
    kept: dict[str, Outcome] = {}
    for one in ordered:
        if one.recording_id is not None:
            first = kept.setdefault(one.recording_id, one)
            if first is not one:
                rejected.append(_duplicate(one, first))
    splits = assign_splits(
        kept, eval_share=settings.eval_share, fold=settings.eval_fold, previous=previous
    )
    in_order = [kept[name] for name in sorted(kept)]
    shards = [
        shard
        for split in contract.SPLITS
        for shard in _shards(
            split, [one for one in in_order if splits[str(one.recording_id)] == split]
        )
    ]
    return Plan(
        shards=tuple(shards),
        rejected=tuple(sorted(rejected, key=lambda row: row["uri"])),
        n_sources=len(ordered),
    )


def _duplicate(one: Outcome, first: Outcome) -> dict[str, Any]:
    return {
        "uri": one.uri,
        "stage": "plan",
        "error": DUPLICATE,
        "message": f"the same audio as {first.uri}, which is kept",
        "bytes": one.source_bytes,
        "sha256": None,
        "remedy": "Nothing needs to be done.",
    }


def _shards(split: str, kept: Sequence[Outcome]) -> Iterator[Shard]:
    # An empty split still has a file: readers of all splits need not know.
    groups: list[list[Placed]] = [[]]
    sizes = [0]
    for one in kept:
        # A recording is never cut over two shards.
        if sizes[-1] >= SHARD_BYTES:
            groups.append([])
            sizes.append(0)
        groups[-1].append(Placed(one.key, str(one.recording_id), sizes[-1]))
        sizes[-1] += one.n_bytes
    for index, (group, n_bytes) in enumerate(zip(groups, sizes, strict=True)):
        name = contract.shard_name(index, len(groups))
        yield Shard(split=split, name=name, recordings=tuple(group), n_bytes=n_bytes)
