"""Loudness, peaks and fades, measured by others."""

import numpy as np
import pyloudnorm
import pytest

from audio.finish import Finished, finish
from tests import signals

RATE = 22050


def finished(samples: np.ndarray, **options: object) -> Finished:
    wanted: dict = {
        "sample_rate": RATE,
        "new_rate": RATE,
        "fade_seconds": 0.0,
        "loudness_lufs": -23.0,
        "true_peak_db": -1.0,
    }
    return finish(samples.astype(np.float32), **{**wanted, **options})


def test_a_clip_is_as_loud_as_asked_by_pyloudnorms_meter() -> None:
    made = finished(signals.tune(seconds=4))
    measured = pyloudnorm.Meter(RATE).integrated_loudness(made.samples.astype(np.float64))
    assert measured == pytest.approx(-23, abs=0.05)
    assert made.loudness_lufs == pytest.approx(-23, abs=0.05)


def test_peaks_between_samples_keep_a_clip_quieter_than_asked() -> None:
    """At a quarter of the rate, 45 degrees off, samples miss the peaks by 3 dB."""
    tone = 0.1 * np.sin(np.pi / 2 * np.arange(2 * RATE) + np.pi / 4)
    made = finished(tone, loudness_lufs=0.0, fade_seconds=0.1)
    middle = made.samples[RATE // 2 : -RATE // 2]
    assert 20 * np.log10(np.abs(middle).max()) == pytest.approx(-4, abs=0.2)
    assert made.true_peak_db == pytest.approx(-1, abs=0.01)
    assert made.loudness_lufs is not None
    assert made.loudness_lufs < -0.5


def test_without_a_target_only_what_is_too_high_is_lowered() -> None:
    quiet = signals.sine(440, seconds=1, level=0.2)
    np.testing.assert_array_equal(finished(quiet, loudness_lufs=None).samples, quiet)
    loud = finished(signals.sine(440, seconds=1, level=3.0), loudness_lufs=None, fade_seconds=0.1)
    assert np.abs(loud.samples).max() == pytest.approx(10 ** (-1 / 20), abs=0.01)


def test_fades_are_as_long_as_asked_and_silence_stays_silence() -> None:
    made = finished(np.ones(RATE), fade_seconds=0.25, loudness_lufs=None, true_peak_db=6.0)
    assert made.samples[0] == made.samples[-1] == 0
    assert made.samples[RATE // 8] == pytest.approx(0.5, abs=0.001)
    assert (made.samples[RATE // 4 : -RATE // 4] == 1).all()
    silent = finished(np.zeros(RATE), fade_seconds=0.25)
    assert silent.loudness_lufs is None
    assert not silent.samples.any()


def test_another_rate_keeps_pitch_and_length() -> None:
    made = finished(signals.sine(440, seconds=2), new_rate=48000)
    assert len(made.samples) == pytest.approx(96000, abs=2)
    spectrum = np.abs(np.fft.rfft(made.samples))
    assert np.argmax(spectrum) * 48000 / len(made.samples) == pytest.approx(440, abs=1)
