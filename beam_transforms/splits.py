"""Assignment of recordings to the train and eval splits, before any window is cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from audio import contract

# A verdict on a model needs this many held-out recordings (pipeline/evaluation/verdict.py). They
# are held out even if the share is less, but never more than a quarter of the recordings.
_MIN_EVAL = 3
_MAX_SHARE = 0.25


def assign_splits(
    recording_ids: Iterable[str],
    *,
    eval_share: float,
    fold: int = 0,
    previous: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Returns the split of each recording.

    The recordings are sorted by a hash of their ids, which are hashes of their content. The eval
    split takes its share from the start of that order, or for other folds from further on, for
    cross-validation. It has at least 3 recordings where there are a dozen, because a model cannot
    be judged by fewer. Recordings of an earlier version of the dataset stay in their split. A
    single recording goes to train; with two or more, no split is empty unless eval_share is 0.

    Args:
      recording_ids: Ids of the recordings of this version of the dataset.
      eval_share: Share of the recordings for the eval split; 0 for an empty one.
      fold: Number of shares to skip in the order before the eval split begins; after the end, the
        order continues at its start.
      previous: Splits of an earlier version of the dataset, by recording id.
    """
    ids = sorted(set(recording_ids), key=_rank)
    previous = previous or {}
    splits = {name: previous[name] for name in ids if name in previous}
    n_eval = round(eval_share * len(ids))
    if eval_share > 0 and len(ids) >= 2:
        least = max(1, min(_MIN_EVAL, int(_MAX_SHARE * len(ids))))
        n_eval = min(max(n_eval, least), len(ids) - 1)
    first = fold * n_eval % max(len(ids), 1)
    missing = n_eval - sum(split == contract.EVAL for split in splits.values())
    for name in ids[first:] + ids[:first]:
        if name not in splits:
            splits[name] = contract.EVAL if missing > 0 else contract.TRAIN
            missing -= splits[name] == contract.EVAL
    return splits


def _rank(recording_id: str) -> str:
    # The ids order the recordings in shards. A second hash makes the splits independent of that.
    return hashlib.sha256(f"split {recording_id}".encode()).hexdigest()
