import collections
import hashlib

import pytest

from audio import contract
from beam_transforms.plan import Outcome, plan_dataset
from beam_transforms.settings import PrepareSettings
from beam_transforms.splits import assign_splits


def ids(count: int, start: int = 0) -> list[str]:
    return [hashlib.sha256(str(n).encode()).hexdigest() for n in range(start, start + count)]


@pytest.mark.parametrize("count", [2, 3, 5, 500])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_eval_has_its_share_and_no_split_is_empty(count: int, share: float) -> None:
    counts = collections.Counter(assign_splits(ids(count), eval_share=share).values())
    assert counts[contract.EVAL] == min(max(round(share * count), 1), count - 1)
    assert counts.total() == count


@pytest.mark.parametrize(
    ("count", "share", "held_out"),
    [(16, 0.1, 3), (12, 0.1, 3), (11, 0.1, 2), (7, 0.1, 1), (16, 0.01, 3), (40, 0.1, 4)],
)
def test_at_least_three_of_a_dozen_are_held_out(count: int, share: float, held_out: int) -> None:
    splits = assign_splits(ids(count), eval_share=share)
    assert list(splits.values()).count(contract.EVAL) == held_out


def test_a_single_recording_goes_to_train() -> None:
    assert list(assign_splits(ids(1), eval_share=0.5).values()) == [contract.TRAIN]


def test_a_share_of_zero_holds_out_nothing() -> None:
    assert set(assign_splits(ids(10), eval_share=0).values()) == {contract.TRAIN}


@pytest.mark.parametrize("count", [10, 31])
def test_folds_together_hold_out_every_recording(count: int) -> None:
    names = ids(count)
    folds = [assign_splits(names, eval_share=0.4, fold=fold) for fold in range(3)]
    held_out = [{name for name in names if fold[name] == contract.EVAL} for fold in folds]
    assert {len(fold) for fold in held_out} == {round(0.4 * count)}
    assert not held_out[0] & held_out[1]
    assert set.union(*held_out) == set(names)


def test_splits_do_not_depend_on_the_order_or_the_process() -> None:
    """The expected ones were computed by another process, in which hash() has another seed."""
    names = ids(10)
    for ordered in (names, names[::-1]):
        splits = assign_splits(ordered, eval_share=0.3)
        assert [names.index(name) for name in names if splits[name] == contract.EVAL] == [1, 5, 7]


@pytest.mark.parametrize("added", [1, 7, 100])
def test_new_recordings_do_not_move_earlier_ones(added: int) -> None:
    before = assign_splits(ids(20), eval_share=0.2)
    after = assign_splits(ids(20 + added), eval_share=0.2, previous=before)
    assert {name: after[name] for name in before} == before
    held_out = sum(split == contract.EVAL for split in after.values())
    assert held_out == round(0.2 * (20 + added))


def test_plan_dataset_holds_out_the_fold_of_the_settings() -> None:
    outcomes = [Outcome(f"{name[:8]}.wav", 1, name, name, 1, None) for name in ids(10)]

    def held_out(fold: int) -> set[str]:
        settings = PrepareSettings(eval_share=0.4, eval_fold=fold)
        shards = plan_dataset(outcomes, settings=settings).shards
        in_eval = [shard for shard in shards if shard.split == contract.EVAL]
        return {recording.recording_id for shard in in_eval for recording in shard.recordings}

    for fold in (0, 1):
        splits = assign_splits(ids(10), eval_share=0.4, fold=fold)
        assert held_out(fold) == {name for name in splits if splits[name] == contract.EVAL}
    assert not held_out(0) & held_out(1)
