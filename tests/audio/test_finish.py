"""Loudness, peaks and fades, measured by others."""

import numpy as np
import pyloudnorm
import pytest

from audio.finish import LevelMeter, Levels, resample_and_fade
from tests.support import signals

RATE = 22050


def finished(
    samples: np.ndarray,
    *,
    new_rate: int = RATE,
    fade_seconds: float = 0.0,
    loudness_lufs: float | None = -23.0,
    true_peak_db: float = -1.0,
    pieces: int = 1,
) -> tuple[np.ndarray, Levels]:
    """Returns a clip as it is published, and its levels."""
    parts = np.array_split(samples.astype(np.float32), pieces)
    meter, clip = LevelMeter(new_rate), []
    for piece in resample_and_fade(
        parts, sample_rate=RATE, new_rate=new_rate, fade_seconds=fade_seconds
    ):
        meter.push(piece)
        clip.append(piece)
    levels = meter.levels(loudness_lufs=loudness_lufs, true_peak_db=true_peak_db)
    return np.concatenate(clip) * levels.gain, levels


def test_a_clip_is_as_loud_as_asked_by_pyloudnorms_meter() -> None:
    clip, levels = finished(signals.tune(seconds=4))
    measured = pyloudnorm.Meter(RATE).integrated_loudness(clip.astype(np.float64))
    assert measured == pytest.approx(-23, abs=0.05)
    assert levels.loudness_lufs == pytest.approx(-23, abs=0.05)


def test_peaks_between_samples_keep_a_clip_quieter_than_asked() -> None:
    """At a quarter of the rate, 45 degrees off, samples miss the peaks by 3 dB."""
    tone = 0.1 * np.sin(np.pi / 2 * np.arange(2 * RATE) + np.pi / 4)
    clip, levels = finished(tone, loudness_lufs=0.0, fade_seconds=0.1)
    middle = clip[RATE // 2 : -RATE // 2]
    assert 20 * np.log10(np.abs(middle).max()) == pytest.approx(-4, abs=0.2)
    assert levels.true_peak_db == pytest.approx(-1, abs=0.01)
    assert levels.loudness_lufs is not None
    assert levels.loudness_lufs < -0.5


def test_without_a_target_only_what_is_too_high_is_lowered() -> None:
    quiet = signals.sine(440, seconds=1, level=0.2)
    np.testing.assert_array_equal(finished(quiet, loudness_lufs=None)[0], quiet)
    tone = signals.sine(440, seconds=1, level=3.0)
    loud, _ = finished(tone, loudness_lufs=None, fade_seconds=0.1)
    assert np.abs(loud).max() == pytest.approx(10 ** (-1 / 20), abs=0.01)


def test_fades_are_as_long_as_asked_and_silence_stays_silence() -> None:
    clip, levels = finished(np.ones(RATE), fade_seconds=0.25, loudness_lufs=None, true_peak_db=6.0)
    assert clip[0] == clip[-1] == 0
    assert clip[RATE // 8] == pytest.approx(0.5, abs=0.001)
    assert (clip[RATE // 4 : -RATE // 4] == 1).all()
    silent, levels = finished(np.zeros(RATE), fade_seconds=0.25)
    assert levels.loudness_lufs is None
    assert not silent.any()


def test_another_rate_keeps_pitch_and_length() -> None:
    clip, _ = finished(signals.sine(440, seconds=2), new_rate=48000)
    assert len(clip) == pytest.approx(96000, abs=2)
    spectrum = np.abs(np.fft.rfft(clip))
    assert np.argmax(spectrum) * 48000 / len(clip) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("new_rate", [RATE, 48000])
def test_where_pieces_begin_leaves_no_trace(new_rate: int) -> None:
    tune = signals.tune(seconds=3)
    options: dict = {"new_rate": new_rate, "fade_seconds": 0.3}
    whole, levels = finished(tune, **options)
    for pieces in (2, 7, 40):
        clip, piecewise = finished(tune, pieces=pieces, **options)
        np.testing.assert_allclose(clip, whole, atol=2e-6)
        assert piecewise.gain_db == pytest.approx(levels.gain_db, abs=1e-3)


def test_a_clip_shorter_than_its_fades_is_faded_to_its_middle() -> None:
    clip, _ = finished(np.ones(100), fade_seconds=1.0, loudness_lufs=None, true_peak_db=6.0)
    assert len(clip) == 100
    assert clip[0] == clip[-1] == 0
    np.testing.assert_allclose(clip, clip[::-1], atol=1e-6)
    assert clip[49] > 0.99
