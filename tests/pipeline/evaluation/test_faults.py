"""Each fault is found by its name, beyond what real passages do, and not before."""

from __future__ import annotations

import numpy as np
import pytest

from audio.config import AudioConfig
from audio.mel import log_mel
from pipeline.evaluation.faults import DEAD, DIVERGED, DRONE, FADING, LOOP, FaultLimits
from tests.support import signals

AUDIO = AudioConfig(n_mels=32)
N_FRAMES = 400


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    tunes = [signals.tune(seconds=10, seed=seed) for seed in range(8)]
    return np.stack([log_mel(samples, AUDIO)[:N_FRAMES] for samples in tunes])


@pytest.fixture(scope="module")
def limits(real) -> FaultLimits:
    return FaultLimits(real[:6], AUDIO)


def test_other_real_music_has_no_fault(real, limits) -> None:
    assert [limits.faults(clip, clip) for clip in real[6:]] == [(), ()]


def stiller(clip: np.ndarray) -> np.ndarray:
    mean = clip.mean(axis=0)
    return np.concatenate([clip[:200], mean + 0.4 * (clip[200:] - mean)])


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda clip: clip - np.linspace(0, 5, len(clip))[:, None], FADING),
        (lambda clip: clip - 20, DEAD),
        (stiller, DRONE),
        (lambda clip: np.resize(clip[:43], clip.shape), LOOP),
        (lambda clip: clip + np.linspace(0, 4, len(clip))[:, None], DIVERGED),
    ],
)
def test_each_fault_has_its_name(real, limits, spoil, fault: str) -> None:
    clip = spoil(real[7]).astype(np.float32)
    assert fault in limits.faults(clip, clip)


def test_a_clip_as_still_or_as_loud_as_a_real_one_has_no_fault(real, limits) -> None:
    """The limits lie beyond the most extreme real passage, not at it."""
    for clip in real[:6]:
        louder = clip + 3 * np.log(10) / 10
        assert limits.faults(louder, louder) == ()


def test_what_the_health_check_finds_counts_under_the_same_names(real, limits) -> None:
    broken = np.full_like(real[7], np.nan)
    assert limits.faults(broken, real[7]) == (DIVERGED,)
