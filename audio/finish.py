"""The last hand on a clip: sample rate, fades, loudness, and room for its peaks."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import soxr

from audio.loudness import LoudnessMeter

Float32 = npt.NDArray[np.float32]

# Peaks between samples are looked for at four times the rate, as BS.1770 says.
_OVERSAMPLED = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
    """A clip ready to be encoded.

    Attributes:
      samples: float32 [n], within [-1, 1].
      loudness_lufs: its integrated loudness; None for one too short or too quiet to have any.
      true_peak_db: its highest peak, dB re. full scale.
      gain_db: how much louder it was made.
    """

    samples: Float32
    loudness_lufs: float | None
    true_peak_db: float
    gain_db: float


def finish(
    samples: Float32,
    *,
    sample_rate: int,
    new_rate: int,
    fade_seconds: float,
    loudness_lufs: float | None,
    true_peak_db: float,
) -> Finished:
    """Resamples, fades and levels a clip.

    It is made as loud as asked, or as its peaks leave room for, whichever is less: nothing is
    limited or clipped.

    Args:
      samples: float32 [n].
      sample_rate: of the samples, Hz.
      new_rate: of the clip, Hz.
      fade_seconds: of each end, a raised cosine.
      loudness_lufs: wanted integrated loudness; None to only make room for peaks.
      true_peak_db: the highest peak between samples, dB re. full scale.

    References:
      ITU-R BS.1770-4, "Algorithms to measure audio programme loudness and true-peak audio level".
    """
    if new_rate != sample_rate:
        samples = soxr.resample(samples, sample_rate, new_rate, quality="VHQ")
    samples = _faded(samples, round(fade_seconds * new_rate))
    loudness, peak = _loudness(samples, new_rate), _true_peak_db(samples, new_rate)
    room = true_peak_db - peak
    gain = min(room, 0.0)
    if loudness_lufs is not None and loudness is not None:
        gain = min(loudness_lufs - loudness, room)
    return Finished(
        samples=samples * np.float32(10 ** (gain / 20)),
        loudness_lufs=None if loudness is None else loudness + gain,
        true_peak_db=peak + gain,
        gain_db=gain,
    )


def _faded(samples: Float32, n_samples: int) -> Float32:
    n_samples = min(n_samples, len(samples) // 2)
    rise = np.sin(np.linspace(0, np.pi / 2, n_samples, dtype=np.float32)) ** 2
    faded = samples.copy()
    faded[:n_samples] *= rise
    faded[len(faded) - n_samples :] *= rise[::-1]
    return faded


def _loudness(samples: Float32, sample_rate: int) -> float | None:
    meter = LoudnessMeter(sample_rate)
    meter.push(samples)
    return meter.lufs()


def _true_peak_db(samples: Float32, sample_rate: int) -> float:
    between = soxr.resample(samples, sample_rate, _OVERSAMPLED * sample_rate)
    peak = max(float(np.abs(samples).max()), float(np.abs(between).max()))
    return 20 * float(np.log10(max(peak, 1e-9)))
