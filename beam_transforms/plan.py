"""The decision what a dataset contains, by the outcomes of preparing its sources; no I/O.

Only what the decision needs goes through here, about 300 bytes for each source. The rest is in the
staged files, where the writer of a shard reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from audio import contract
from beam_transforms.settings import PrepareSettings, Staged
from beam_transforms.splits import assign_splits

# Value of `error` in rejected.jsonl for a file with the same audio as another.
DUPLICATE = "Duplicate"
# Value of `stage` in rejected.jsonl for a file that could not be read this time.
OPEN = "open"


class Outcome(NamedTuple):
    """The result of preparing one source, in short.

    Attributes:
      uri: Path or URL of the source.
      source_bytes: Size of the source.
      key: Name of its staged files.
      recording_id: Id of the recording; None if the source was rejected.
      n_bytes: Size of its records.
      rejection: Row of rejected.jsonl; None if the source was prepared.
      by_content: Whether only its content, and not its name, says that it is audio.
    """

    uri: str
    source_bytes: int
    key: str
    recording_id: str | None
    n_bytes: int
    rejection: dict[str, Any] | None
    by_content: bool = False

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
            by_content=staged.source.by_content,
        )


class PlacedRecording(NamedTuple):
    """A recording in a shard: name of its staged files, id, and offset of its records in bytes."""

    key: str
    recording_id: str
    offset: int


class Shard(NamedTuple):
    """A file of a split, with its recordings in order."""

    split: str
    name: str
    recordings: tuple[PlacedRecording, ...]
    n_bytes: int


class Plan(NamedTuple):
    """The content of a dataset that is still to be written.

    Attributes:
      shards: Shards of all splits. Within a split, recordings are in the order of their ids.
      rejected: Rows of rejected.jsonl, sorted by uri.
      n_sources: Number of sources, rejected ones included.
      n_mistaken: Number of rejected files that only their content made sources. They may never have
        been audio, so they do not count as failures.
    """

    shards: tuple[Shard, ...]
    rejected: tuple[dict[str, Any], ...]
    n_sources: int
    n_mistaken: int = 0

    @property
    def n_recordings(self) -> int:
        """Number of recordings in the dataset."""
        return sum(len(shard.recordings) for shard in self.shards)

    @property
    def n_failed(self) -> int:
        """Number of rejected files, without duplicates, which are no failure."""
        return sum(row["error"] != DUPLICATE for row in self.rejected)

    @property
    def n_not_read(self) -> int:
        """Number of rejected files that are missing or may not be read; nothing else is known."""
        return sum(row["stage"] == OPEN for row in self.rejected)

    def is_acceptable(self, settings: PrepareSettings) -> bool:
        """Returns whether enough files could be used for a dataset."""
        n_failed, n_sources = self.n_failed - self.n_mistaken, self.n_sources - self.n_mistaken
        return bool(self.n_recordings) and n_failed <= settings.max_rejected_share * n_sources

    @property
    def dataset_id(self) -> str:
        """Hash of the recordings' ids and splits, 12 hex digits."""
        rows = sorted(
            (recording.recording_id, shard.split)
            for shard in self.shards
            for recording in shard.recordings
        )
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]


def plan_dataset(
    outcomes: Iterable[Outcome],
    *,
    settings: PrepareSettings,
    previous: Mapping[str, str] | None = None,
) -> Plan:
    """Decides on duplicates, splits and shards.

    Args:
      outcomes: Outcomes of all sources, in any order.
      settings: Settings of the job, for eval_share, eval_fold and shard_bytes.
      previous: Splits of an earlier version of the dataset, by recording id.
    """
    ordered = sorted(outcomes, key=lambda outcome: outcome.uri)
    rejected = [outcome.rejection for outcome in ordered if outcome.rejection]
    kept: dict[str, Outcome] = {}
    for outcome in ordered:
        if outcome.recording_id is not None:
            first = kept.setdefault(outcome.recording_id, outcome)
            if first is not outcome:
                rejected.append(_duplicate_row(outcome, first))
    splits = assign_splits(
        kept, eval_share=settings.eval_share, fold=settings.eval_fold, previous=previous
    )
    return Plan(
        shards=tuple(
            shard
            for split in contract.SPLITS
            for shard in _cut_shards(
                split,
                [kept[key] for key in sorted(kept) if splits[key] == split],
                settings.shard_bytes,
            )
        ),
        rejected=tuple(sorted(rejected, key=lambda row: row["uri"])),
        n_sources=len(ordered),
        n_mistaken=sum(bool(outcome.rejection) and outcome.by_content for outcome in ordered),
    )


def _duplicate_row(outcome: Outcome, first: Outcome) -> dict[str, Any]:
    return {
        "uri": outcome.uri,
        "stage": "plan",
        "error": DUPLICATE,
        "message": f"the same audio as {first.uri}, which is kept",
        "bytes": outcome.source_bytes,
        "sha256": None,
        "remedy": "Nothing needs to be done.",
    }


def _cut_shards(split: str, outcomes: Sequence[Outcome], shard_bytes: int) -> Iterator[Shard]:
    """Yields the shards of a split, at least one; a recording is always in one of them alone."""
    groups: list[list[PlacedRecording]] = [[]]
    sizes = [0]
    for outcome in outcomes:
        if sizes[-1] >= shard_bytes:
            groups.append([])
            sizes.append(0)
        groups[-1].append(PlacedRecording(outcome.key, str(outcome.recording_id), sizes[-1]))
        sizes[-1] += outcome.n_bytes
    for index, (group, n_bytes) in enumerate(zip(groups, sizes, strict=True)):
        name = contract.shard_name(index, len(groups))
        yield Shard(split=split, name=name, recordings=tuple(group), n_bytes=n_bytes)
