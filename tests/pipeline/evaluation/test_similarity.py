"""Figures of signals whose properties are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from audio.codec import read_mono
from audio.config import AudioConfig
from audio.mel import log_mel
from audio.quality import repetition
from audio.vocoder import vocode
from pipeline.demo.corpus import render_corpus
from pipeline.evaluation import similarity
from tests.support import signals

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
    distance = similarity.KernelDistance(similarity.segment_statistics(vocoded(real), AUDIO))
    noise = np.stack(
        [log_mel(signals.noise(seconds=7, seed=seed), AUDIO)[:N_FRAMES] for seed in range(12)]
    )
    others = vocoded(clips(100))
    distances = [
        distance(similarity.segment_statistics(frames, AUDIO))
        for frames in (others, smoothed(others), drone(others), noise)
    ]
    near, smooth, still, hiss = distances
    assert abs(near) < 60
    assert 5 * abs(near) < smooth < min(still, hiss)


def test_distance_orders_real_vocoded_smoothed_collapsed_noise(tmp_path) -> None:
    """On rendered music, from other passages of the same pieces; a rough vocoder of one round."""
    pieces = render_corpus(tmp_path, pieces=8, bars=10)
    recordings = []
    for path in pieces:
        with path.open("rb") as file:
            recordings.append(log_mel(read_mono(file, sample_rate=AUDIO.sample_rate), AUDIO))
    here, there = (
        np.stack([piece[start + 40 * i :][:N_FRAMES] for piece in recordings for i in range(3)])
        for start in (100, 400)
    )
    size = len(similarity.segment_statistics(here, AUDIO)) // len(here)
    distance = similarity.KernelDistance(similarity.segment_statistics(here, AUDIO), per_clip=size)
    rng = np.random.default_rng(0)
    rough = [log_mel(vocode(clip, AUDIO, rng=rng, iterations=1), AUDIO) for clip in there]
    level = there.mean(axis=(1, 2), keepdims=True)
    distances = [
        distance(similarity.segment_statistics(frames, AUDIO))
        for frames in (
            there,
            np.stack([clip[: N_FRAMES - 1] for clip in rough]),
            smoothed(there),
            drone(there),
            level + rng.normal(0, 1, there.shape),
        )
    ]
    assert distances == sorted(distances)
    assert np.diff(distances).min() > 5


def test_pairs_within_a_clip_do_not_count() -> None:
    """Clips of three pieces that are alike: the same distribution stays near, pieces or not."""
    rng = np.random.default_rng(0)
    distances = []
    for _ in range(100):
        one, other = (np.repeat(rng.normal(size=(24, 6)), 3, axis=0) for _ in range(2))
        distances.append([similarity.KernelDistance(one, per_clip=n)(other) for n in (3, 1)])
    separate, naive = np.mean(distances, axis=0)
    assert abs(separate) < 4
    assert naive > 3 * abs(separate)


def test_an_interval_holds_what_other_clips_would_have_had() -> None:
    rng = np.random.default_rng(0)
    distance = similarity.KernelDistance(rng.normal(size=(40, 4)))

    def clips() -> np.ndarray:
        return rng.normal(0.7, 1, size=(30, 4))

    usual = np.mean([distance(clips()) for _ in range(200)])
    inside = 0
    for _ in range(100):
        low, high = similarity.middle_90_percent(
            distance.resample(clips(), similarity.bootstrap_weights(30, rng))
        )
        inside += int(low < usual < high)
    assert 80 <= inside <= 97


def test_every_clip_drawn_once_is_the_distance_itself() -> None:
    rng = np.random.default_rng(0)
    distance = similarity.KernelDistance(rng.normal(size=(20, 4)), per_clip=2)
    others = rng.normal(size=(12, 4))
    assert distance.resample(others, np.ones((3, 6))) == pytest.approx(distance(others))
    weights = similarity.bootstrap_weights(6, rng)
    assert weights.sum(axis=1) == pytest.approx(6)


def test_distance_of_the_same_distribution_is_nothing_on_average() -> None:
    rng = np.random.default_rng(0)
    distances = []
    for _ in range(200):
        distance = similarity.KernelDistance(rng.normal(size=(20, 6)))
        distances.append(distance(rng.normal(size=(20, 6))))
    assert np.mean(distances) == pytest.approx(0, abs=3 * np.std(distances) / np.sqrt(200))
    assert min(distances) < 0 < max(distances)


def test_movement_is_the_mean_rise() -> None:
    frames = np.zeros((1, 5, 2))
    frames[0, :, 0] = [0, 1, 0, 1, 0]  # two rises of one nat in four steps and two bands
    assert similarity.movement(frames)[0] == pytest.approx(2 / 8)
    frames[0, 0, 0] = -50  # what is below the floor counts as the floor
    assert similarity.movement(frames)[0] == pytest.approx((9 + 1) / 8)


def test_a_drone_neither_moves_nor_varies_nor_has_a_beat(real) -> None:
    still = drone(real)
    assert similarity.movement(still).max() == pytest.approx(0, abs=1e-9)
    assert similarity.variance(still).max() == pytest.approx(0, abs=1e-9)
    assert similarity.rhythm(still, AUDIO).max() == pytest.approx(0, abs=1e-6)


def test_shuffled_frames_move_too_much_and_have_no_beat(real) -> None:
    rng = np.random.default_rng(0)
    shuffled = np.stack([clip[rng.permutation(N_FRAMES)] for clip in real])
    assert similarity.movement(shuffled).mean() > 2 * similarity.movement(real).mean()
    assert similarity.rhythm(shuffled, AUDIO).mean() < 0.6 * similarity.rhythm(real, AUDIO).mean()


def test_attack_knows_the_direction_of_time(real) -> None:
    forwards = similarity.attack(real)
    assert forwards.min() > 0.2
    assert similarity.attack(real[:, ::-1]) == pytest.approx(-forwards)
    assert similarity.attack(drone(real)) == pytest.approx(0)
    even = np.random.default_rng(0).normal(size=(1, 5000, 4))
    assert similarity.attack(even)[0] == pytest.approx(0, abs=0.05)


def test_only_a_loop_repeats_itself(real) -> None:
    period = 20
    loop = np.tile(real[:, :period], (1, N_FRAMES // period, 1))
    assert repetition(loop, AUDIO).min() == pytest.approx(1)
    assert repetition(real, AUDIO).max() < 0.95


@pytest.mark.parametrize("db_per_second", [-3.0, 2.0])
def test_drift_is_the_level_gained_from_the_first_quarter_to_the_last(db_per_second) -> None:
    seconds = np.arange(N_FRAMES) / AUDIO.frames_per_second
    frames = np.full((1, N_FRAMES, 32), -3.0) + (db_per_second * seconds / 10 * np.log(10))[:, None]
    apart = 0.75 * N_FRAMES / AUDIO.frames_per_second
    assert similarity.drift(frames, AUDIO)[0] == pytest.approx(db_per_second * apart, abs=0.1)


def test_one_frame_is_no_error() -> None:
    frames = np.zeros((2, 1, 32))
    assert similarity.segment_statistics(np.zeros((2, 2, 32)), AUDIO).shape == (2, 96)
    assert similarity.drift(frames, AUDIO).shape == (2,)
