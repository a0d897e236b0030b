"""A classifier that is fitted on some recordings and tried on others."""

from __future__ import annotations

import numpy as np

from pipeline.evaluation.similarity import classifier_auc

RECORDINGS = [f"r{index // 6}" for index in range(24)]


def auc(shift: float, *, recordings: list[str] = RECORDINGS) -> float | None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(len(recordings), 5))
    clips = rng.normal(size=(len(recordings), 5)) + shift
    return classifier_auc(clips, real, clip_recordings=recordings, real_recordings=recordings)


def test_clips_of_the_same_distribution_cannot_be_told_apart() -> None:
    value = auc(0.0)
    assert value is not None
    assert 0.3 < value < 0.7


def test_clips_of_another_distribution_are_told_apart() -> None:
    value = auc(2.0)
    assert value is not None
    assert value > 0.95


def test_knowing_a_recording_again_does_not_help() -> None:
    """Each recording has its own figures, the same for clips and real music."""
    rng = np.random.default_rng(1)
    own = np.repeat(10 * rng.normal(size=(4, 5)), 6, axis=0)
    real, clips = own + rng.normal(size=(24, 5)), own + rng.normal(size=(24, 5))
    value = classifier_auc(clips, real, clip_recordings=RECORDINGS, real_recordings=RECORDINGS)
    assert value is not None
    assert value < 0.8


def test_one_recording_cannot_be_cross_fitted() -> None:
    assert auc(2.0, recordings=["only"] * 8) is None
