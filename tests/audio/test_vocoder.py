import importlib.metadata
from typing import Any

import numpy as np
import pytest

from audio.config import AudioConfig
from audio.errors import AudioError, ConfigMismatchError, UsageError
from audio.mel import log_mel
from audio.vocoder import PLUGIN_GROUP, find_vocoder, vocode, vocode_pieces
from tests.support import signals

CONFIG = AudioConfig()


def convergence_db(target: np.ndarray, samples: np.ndarray, config: AudioConfig) -> float:
    expected, actual = np.exp(target / 2), np.exp(log_mel(samples, config)[: len(target)] / 2)
    return float(20 * np.log10(np.linalg.norm(expected - actual) / np.linalg.norm(expected)))


def test_more_rounds_come_closer() -> None:
    target = log_mel(signals.tune(seconds=3), CONFIG)
    errors = [
        convergence_db(
            target, vocode(target, CONFIG, rng=np.random.default_rng(0), iterations=n), CONFIG
        )
        for n in (1, 8, 32)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < -20


@pytest.mark.parametrize(
    "config", [CONFIG, AudioConfig(sample_rate=16000, n_fft=1024, hop_length=300, n_mels=40)]
)
def test_level_and_pitch_survive(config: AudioConfig) -> None:
    rate = config.sample_rate
    samples = signals.sine(440, seconds=2, rate=rate, level=0.3)
    output = vocode(log_mel(samples, config), config, rng=np.random.default_rng(0))
    middle = output[rate // 2 : -rate // 2]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) * rate / len(middle) == pytest.approx(440, abs=12)


def test_length_is_the_frames_hops() -> None:
    samples = vocode(np.zeros((11, 128), np.float32), CONFIG, rng=np.random.default_rng(0))
    assert samples.shape == (10 * 512,)
    assert samples.dtype == np.float32


def test_the_seed_decides_the_samples() -> None:
    target = log_mel(signals.tune(seconds=1), CONFIG)
    first, again, other = (
        vocode(target, CONFIG, rng=np.random.default_rng(seed), iterations=4) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_silence_stays_silent() -> None:
    target = log_mel(np.zeros(22050, np.float32), CONFIG)
    assert np.abs(vocode(target, CONFIG, rng=np.random.default_rng(0))).max() < 1e-4


def test_a_model_that_exploded_gives_finite_samples() -> None:
    target = np.full((20, 128), 1e6, np.float32)
    assert np.isfinite(vocode(target, CONFIG, rng=np.random.default_rng(0), iterations=4)).all()


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((1, 128)), "2 or more frames"),
        (np.zeros((9, 80)), "128"),
        (np.full((9, 128), np.nan), "finite"),
    ],
)
def test_unusable_frames_are_refused(frames: np.ndarray, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        vocode(frames, CONFIG, rng=np.random.default_rng(0))


@pytest.mark.parametrize("n_frames", [1040, 1041, 2064, 2066, 3000])
def test_a_long_clip_in_pieces_is_the_clip_and_has_no_seams(n_frames: int) -> None:
    config = AudioConfig(n_mels=32, n_fft=512, hop_length=128)
    tone = signals.sine(440, seconds=n_frames * 128 / 22050, level=0.3)
    frames = log_mel(tone, config)[:n_frames]
    whole = vocode(frames, config, rng=np.random.default_rng(0), iterations=8)
    parts = [frames[at : at + 700] for at in range(0, n_frames, 700)]
    pieces = list(vocode_pieces(parts, config, rng=np.random.default_rng(0), iterations=8))
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert whole.shape == ((n_frames - 1) * 128,)
    # Two tones that do not agree in phase would cancel in places where they are faded.
    blocks = whole[1024:-2048][: (len(whole) - 3072) // 512 * 512].reshape(-1, 512)
    level = np.sqrt(np.mean(blocks**2, axis=1))
    assert level.min() > 0.8 * np.median(level)
    assert level.max() < 1.2 * np.median(level)


def test_librosas_way_is_there_to_compare_with() -> None:
    target = log_mel(signals.tune(seconds=2), CONFIG)
    samples = find_vocoder("librosa", CONFIG)(
        target, CONFIG, rng=np.random.default_rng(0), iterations=8
    )
    assert samples.shape == ((len(target) - 1) * 512,)
    assert convergence_db(target, samples, CONFIG) < -8


class Neural:
    """What a package's entry point names."""

    fingerprint = AudioConfig(n_mels=80).fingerprint

    def __call__(self, log_mel: np.ndarray, *_: object, **__: object) -> np.ndarray:
        return np.full(len(log_mel), 0.5, np.float32)


def test_a_packages_vocoder_is_found_and_refused_for_another_front_end(monkeypatch) -> None:
    entry = importlib.metadata.EntryPoint("neural", "tests.audio.test_vocoder:Neural", PLUGIN_GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: [entry])
    vocoder: Any = find_vocoder("neural", AudioConfig(n_mels=80))
    assert vocoder(np.zeros((3, 80), np.float32)).tolist() == [0.5] * 3
    with pytest.raises(ConfigMismatchError, match="made for front end"):
        find_vocoder("neural", CONFIG)
    with pytest.raises(UsageError, match=r"no 'wavenet'; there are griffin-lim, librosa, neural"):
        find_vocoder("wavenet", CONFIG)
