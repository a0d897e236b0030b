"""Which recordings are held out: decided by content, before any window is cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from audio import contract


def assign_splits(
    recording_ids: Iterable[str],
    *,
    eval_share: float,
    fold: int = 0,
    previous: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Returns the split of each recording.

    The recordings are ranked by a hash of their content's id; the eval split takes the first of
    that order until it holds its share; other folds take others, for cross-validation. What an
    earlier version of the dataset has placed stays where it is. Two recordings or more leave no
    split empty; a single one goes to train.

    Args:
      recording_ids: the recordings of this version of the dataset.
      eval_share: share of the recordings for the eval split; 0 holds nothing out.
      fold: which share of that order it takes: 0 the first, 1 the next, and round again.
      previous: the assignment of an earlier version.
    """
    ids = sorted(set(recording_ids), key=_rank)
    previous = previous or {}
    splits = {name: previous[name] for name in ids if name in previous}
    wanted = round(eval_share * len(ids))
    if eval_share > 0 and len(ids) >= 2:
        wanted = min(max(wanted, 1), len(ids) - 1)
    first = fold * wanted % max(len(ids), 1)
    missing = wanted - sum(split == contract.EVAL for split in splits.values())
    for name in ids[first:] + ids[:first]:
        if name not in splits:
            splits[name] = contract.EVAL if missing > 0 else contract.TRAIN
            missing -= splits[name] == contract.EVAL
    return splits


def _rank(recording_id: str) -> str:
    # Hashed again, so that the order of shards and the choice of split are independent.
    return hashlib.sha256(f"split {recording_id}".encode()).hexdigest()
