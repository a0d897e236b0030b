import numpy as np
import pyloudnorm
import pytest

from audio.loudness import LoudnessMeter, gain_to
from tests.support import signals


def measured(samples: np.ndarray, rate: int, block: int) -> float | None:
    meter = LoudnessMeter(rate)
    for start in range(0, len(samples), block):
        meter.push(samples[start : start + block])
    return meter.lufs()


def with_pauses(rate: int) -> np.ndarray:
    """Loud, nearly silent and quiet stretches: both gates have something to do."""
    loud = signals.tune(seconds=4, rate=rate)
    return np.concatenate([loud, 1e-4 * loud, 0.02 * loud, loud[: rate * 3 + 123]])


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
@pytest.mark.parametrize("block", [1, 1 << 16, 1000])
def test_blocks_give_what_pyloudnorm_gives_at_once(rate: int, block: int) -> None:
    samples = with_pauses(rate)
    if block == 1:
        samples = samples[: rate * 2]
    expected = pyloudnorm.Meter(rate).integrated_loudness(samples.astype(np.float64))
    assert measured(samples, rate, block) == pytest.approx(expected, abs=0.02)


def test_a_full_scale_sine_of_997_hz_is_3_below_zero() -> None:
    """BS.1770's own calibration."""
    lufs = measured(signals.sine(997, seconds=5, rate=48000, level=1.0), 48000, 4096)
    assert lufs == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize("seconds", [0.1, 0.39])
def test_what_is_too_short_has_no_loudness(seconds: float) -> None:
    assert measured(signals.sine(440, seconds=seconds), 22050, 4096) is None


def test_what_is_all_below_the_gate_has_no_loudness() -> None:
    assert measured(signals.sine(440, seconds=2, level=1e-5), 22050, 4096) is None


def test_gain_reaches_the_target_but_not_further_than_allowed() -> None:
    assert gain_to(-20, -26) == pytest.approx(10 ** (6 / 20))
    assert gain_to(-20, -69) == pytest.approx(100)
    assert gain_to(-20, None) == 1
