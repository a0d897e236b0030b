"""What the figures of realism say of signals whose faults are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from audio import realism
from audio.config import AudioConfig
from audio.mel import log_mel
from audio.vocoder import vocode
from tests import signals

AUDIO = AudioConfig(n_mels=32)
N_FRAMES = AUDIO.frames_for(6)


def clips(first_seed: int) -> np.ndarray:
    made = [signals.tune(seconds=7, seed=first_seed + index) for index in range(12)]
    return np.stack([log_mel(samples, AUDIO)[:N_FRAMES] for samples in made])


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    return clips(0)


def vocoded(frames: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    made = [log_mel(vocode(clip, AUDIO, rng=rng, iterations=8), AUDIO) for clip in frames]
    return np.stack([clip[: N_FRAMES - 1] for clip in made])


def drone(frames: np.ndarray) -> np.ndarray:
    return np.repeat(frames.mean(axis=1, keepdims=True), N_FRAMES, axis=1)


def smoothed(frames: np.ndarray) -> np.ndarray:
    return ndimage.uniform_filter1d(frames, 5, axis=1, mode="nearest")


def test_distance_orders_real_smoothed_and_what_is_no_music(real) -> None:
    """Against real clips that went through the vocoder, as all that is compared does."""
    distance = realism.KernelDistance(realism.statistics(vocoded(real), AUDIO))
    noise = np.stack(
        [log_mel(signals.noise(seconds=7, seed=seed), AUDIO)[:N_FRAMES] for seed in range(12)]
    )
    others = vocoded(clips(100))
    found = [
        distance(realism.statistics(frames, AUDIO))
        for frames in (others, smoothed(others), drone(others), noise)
    ]
    near, smooth, still, hiss = found
    assert abs(near) < 60
    assert 5 * abs(near) < smooth < min(still, hiss)


def test_distance_of_the_same_distribution_is_nothing_on_average() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        distance = realism.KernelDistance(rng.normal(size=(20, 6)))
        found.append(distance(rng.normal(size=(20, 6))))
    assert np.mean(found) == pytest.approx(0, abs=3 * np.std(found) / np.sqrt(200))
    assert min(found) < 0 < max(found)


def test_movement_is_the_mean_rise() -> None:
    frames = np.zeros((1, 5, 2))
    frames[0, :, 0] = [0, 1, 0, 1, 0]  # two rises of one nat in four steps and two bands
    assert realism.movement(frames)[0] == pytest.approx(2 / 8)
    frames[0, 0, 0] = -50  # what is below the floor counts as the floor
    assert realism.movement(frames)[0] == pytest.approx((9 + 1) / 8)


def test_a_drone_neither_moves_nor_varies_nor_has_a_beat(real) -> None:
    still = drone(real)
    assert realism.movement(still).max() == pytest.approx(0, abs=1e-9)
    assert realism.variance(still).max() == pytest.approx(0, abs=1e-9)
    assert realism.rhythm(still, AUDIO).max() == pytest.approx(0, abs=1e-6)


def test_shuffled_frames_move_too_much_and_have_no_beat(real) -> None:
    rng = np.random.default_rng(0)
    shuffled = np.stack([clip[rng.permutation(N_FRAMES)] for clip in real])
    assert realism.movement(shuffled).mean() > 2 * realism.movement(real).mean()
    assert realism.rhythm(shuffled, AUDIO).mean() < 0.6 * realism.rhythm(real, AUDIO).mean()


def test_only_a_loop_repeats_itself(real) -> None:
    period = 20
    loop = np.tile(real[:, :period], (1, N_FRAMES // period, 1))
    assert realism.repetition(loop, AUDIO).min() == pytest.approx(1)
    assert realism.repetition(real, AUDIO).max() < 0.95


@pytest.mark.parametrize("db_per_second", [-3.0, 2.0])
def test_drift_is_the_level_gained_from_the_first_quarter_to_the_last(db_per_second) -> None:
    seconds = np.arange(N_FRAMES) / AUDIO.frames_per_second
    frames = np.full((1, N_FRAMES, 32), -3.0) + (db_per_second * seconds / 10 * np.log(10))[:, None]
    apart = 0.75 * N_FRAMES / AUDIO.frames_per_second
    assert realism.drift(frames, AUDIO)[0] == pytest.approx(db_per_second * apart, abs=0.1)


def test_one_frame_is_no_error() -> None:
    frames = np.zeros((2, 1, 32))
    assert realism.statistics(np.zeros((2, 2, 32)), AUDIO).shape == (2, 96)
    assert realism.drift(frames, AUDIO).shape == (2,)
