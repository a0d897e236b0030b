import numpy as np
import pytest

from audio.config import AudioConfig
from audio.mel import log_mel
from audio.quality import flux, level_db, measure_frames
from tests.support import signals

CONFIG = AudioConfig()


@pytest.mark.parametrize("hz", [100, 440, 3000, 9000])
@pytest.mark.parametrize("level", [1.0, 0.1, 0.001])
def test_level_of_a_sine_is_its_peak_in_decibels(hz: float, level: float) -> None:
    frames = log_mel(signals.sine(hz, seconds=1, level=level), CONFIG)[4:-4]
    np.testing.assert_allclose(level_db(frames, CONFIG), 20 * np.log10(level), atol=0.01)


def test_measure_frames_of_sound_and_silence() -> None:
    half = signals.sine(440, seconds=2, level=0.1)
    figures = measure_frames(log_mel(np.concatenate([half, 0 * half]), CONFIG), CONFIG)
    assert figures.peak_db == pytest.approx(-20, abs=0.1)
    assert figures.level_db == pytest.approx(-23, abs=0.1)
    assert figures.silence_share == pytest.approx(0.5, abs=0.02)


def test_flux_is_the_mean_rise() -> None:
    assert flux(np.array([[0.0, 0.0], [1.0, -1.0], [1.0, 2.0]])) == pytest.approx((1 + 3) / 4)


def test_flux_of_one_frame_is_zero() -> None:
    assert flux(np.zeros((1, 3))) == 0
