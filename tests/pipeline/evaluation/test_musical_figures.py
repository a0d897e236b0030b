"""Figures of single clips, on sounds whose notes, chords and beats are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from audio.config import AudioConfig
from audio.mel import log_mel
from pipeline.evaluation.figure_table import FIGURES
from pipeline.evaluation.musical_figures import measure_clip

Float32 = npt.NDArray[np.float32]

AUDIO = AudioConfig()
RATE = AUDIO.sample_rate
SECONDS = 8


def measure(samples: npt.NDArray[np.floating]) -> dict[str, float]:
    sound = samples.astype(np.float32)
    return measure_clip(sound, log_mel(sound, AUDIO), AUDIO)


def tone(pitch: int, seconds: float, *, fade: float = 0.0) -> npt.NDArray[np.float64]:
    """A tone with five partials; with `fade` it is struck and decays, in seconds."""
    time = np.arange(round(seconds * RATE)) / RATE
    hertz = 440 * 2 ** ((pitch - 69) / 12)
    wave = np.sum([np.sin(2 * np.pi * hertz * n * time) / n for n in range(1, 6)], axis=0)
    return 0.1 * wave * (np.exp(-time / fade) if fade else 1.0)


@pytest.fixture(scope="module")
def noise() -> dict[str, float]:
    return measure(0.1 * np.random.default_rng(0).normal(size=SECONDS * RATE))


@pytest.fixture(scope="module")
def held() -> dict[str, float]:
    return measure(tone(60, SECONDS))


@pytest.fixture(scope="module")
def melody() -> dict[str, float]:
    """Struck notes, two a second, with a new pitch each second: C, F, G, C, ..."""
    pitches = np.repeat(np.resize([60, 65, 67], SECONDS), 2)
    return measure(np.concatenate([tone(pitch, 0.5, fade=0.15) for pitch in pitches]))


def test_all_figures_are_there_and_finite(noise, held, melody) -> None:
    for figures in (noise, held, melody):
        assert list(figures) == list(FIGURES)
        assert np.isfinite(list(figures.values())).all()


def test_partials_of_a_held_tone_last_and_those_of_noise_do_not(noise, held) -> None:
    for name in ("partials_100ms", "partials_500ms", "partials_1s"):
        assert held[name] > 0.95
        assert abs(noise[name]) < 0.2


def test_partials_of_short_notes_last_shorter_than_the_notes(melody) -> None:
    assert melody["partials_100ms"] > melody["partials_500ms"] > melody["partials_1s"]


def test_harmonic_share_and_flatness_tell_a_tone_from_noise(noise, held) -> None:
    assert held["harmonic_share"] > 0.95
    assert noise["harmonic_share"] < 0.7
    assert noise["flatness_db"] > -6
    assert held["flatness_db"] < -30


def test_the_strongest_pitch_classes_of_a_tone_hold_nearly_all_of_its_energy(noise, held) -> None:
    assert held["top_pitches"] > 0.95
    assert noise["top_pitches"] < 0.5


def test_chords_change_where_the_melody_does(held, melody) -> None:
    assert held["chord_changes"] == 0
    # Every other pair of half seconds has two pitches; frames do not divide half a second evenly.
    assert 0.4 < melody["chord_changes"] < 0.8
    assert held["chord_kept_2s"] > 0.99 > melody["chord_kept_2s"]
    assert melody["recurrence"] > 0.95


def test_onsets_are_regular_at_the_beat_and_attacks_steeper_than_decays(noise, melody) -> None:
    assert melody["beat"] > 0.7
    assert noise["beat"] < 0.3
    assert melody["attack"] > 0.3
    assert abs(noise["attack"]) < 0.1


def test_the_same_clip_has_the_same_figures_at_another_level() -> None:
    samples = tone(57, 4, fade=1.0)
    loud, soft = measure(samples), measure(0.1 * samples)
    for name in ("partials_500ms", "harmonic_share", "top_pitches", "flatness_db"):
        assert soft[name] == pytest.approx(loud[name], abs=0.02)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_other_sample_rates_measure_the_same_tone_alike(rate: int) -> None:
    audio = AudioConfig(sample_rate=rate)
    time = np.arange(4 * rate) / rate
    samples = (0.1 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)
    figures = measure_clip(samples, log_mel(samples, audio), audio)
    assert figures["partials_1s"] > 0.9
    assert figures["harmonic_share"] > 0.9


def test_silence_and_very_short_clips_are_no_errors() -> None:
    for samples in (np.zeros(2 * RATE), tone(60, 0.3)):
        assert np.isfinite(list(measure(samples).values())).all()
