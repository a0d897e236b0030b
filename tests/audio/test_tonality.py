"""Held notes, noise and shuffled notes are told apart by how long their tones last."""

from __future__ import annotations

import numpy as np
import pytest

from audio.config import AudioConfig
from audio.mel import log_mel
from audio.tonality import measure_tonality, tonality_limits
from tests.support import signals

CONFIG = AudioConfig()
RNG = np.random.default_rng(0)
NOISE = log_mel(RNG.normal(0, 0.1, 4 * CONFIG.sample_rate).astype(np.float32), CONFIG)


def _chord(seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * CONFIG.sample_rate)) / CONFIG.sample_rate
    sound = np.sum([np.sin(2 * np.pi * hertz * time) for hertz in (220, 277, 330)], axis=0)
    return log_mel((0.1 * sound).astype(np.float32), CONFIG)[10:-10]


def test_a_held_chord_keeps_its_ridges_and_noise_does_not() -> None:
    chord, noise = measure_tonality(_chord(4), CONFIG), measure_tonality(NOISE, CONFIG)
    for name in ("tone_100ms", "tone_500ms"):
        assert chord[name] > 0.95
        assert abs(noise[name]) < 0.05


def test_chords_that_change_every_quarter_second_last_for_100_ms_but_not_500() -> None:
    """Every 11 frames (0.26 s) the whole spectrum moves by a few bands."""
    chord = _chord(1)[:1]
    frames = np.concatenate([np.repeat(np.roll(chord, 7 * i, axis=1), 11, 0) for i in range(12)])
    figures = measure_tonality(frames, CONFIG)
    assert figures["tone_100ms"] > 0.4
    assert figures["tone_500ms"] < 0.1


def test_a_louder_copy_has_the_same_figures() -> None:
    tune = log_mel(signals.tune(seconds=2), CONFIG).clip(-6)
    assert measure_tonality(tune + 1, CONFIG)["tone_100ms"] == pytest.approx(
        measure_tonality(tune, CONFIG)["tone_100ms"], abs=0.01
    )


def test_figures_are_left_out_of_what_is_too_short() -> None:
    assert measure_tonality(NOISE[:2], CONFIG) == {}
    assert list(measure_tonality(NOISE[:10], CONFIG)) == ["tone_100ms"]
    assert tonality_limits([NOISE[:2]], CONFIG) == {}


def test_silence_and_a_single_level_are_no_tone() -> None:
    assert measure_tonality(np.full((60, 128), -20.0), CONFIG) == {
        "tone_100ms": 0.0,
        "tone_500ms": 0.0,
    }


def test_limits_are_what_all_but_a_few_passages_reach() -> None:
    limits = tonality_limits([_chord(2)] * 20 + [NOISE], CONFIG)
    assert limits["tone_500ms"] > 0.9
    limits = tonality_limits([_chord(2)] * 10 + [NOISE] * 10, CONFIG)
    assert limits["tone_500ms"] < 0.05
