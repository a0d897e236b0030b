"""The last steps before a clip is encoded: its sample rate, fades, loudness and peak level.

A clip arrives in pieces, so that an hour takes no more memory than a minute. `resample_and_fade`
yields the pieces, a LevelMeter measures them, and returns the gain of the clip at the end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import soxr

from audio.codec import resample_blocks
from audio.loudness import LoudnessMeter

Float32 = npt.NDArray[np.float32]

# Peaks between samples are measured at four times the sample rate, as in BS.1770.
_OVERSAMPLING = 4
_EMPTY = np.zeros(0, np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Levels:
    """The gain of a clip, and its levels after the gain.

    Attributes:
      loudness_lufs: Integrated loudness, LUFS; None if the clip is too short or too quiet.
      true_peak_db: Highest peak, also between samples, dB re. full scale.
      gain_db: Gain that the clip still has to get, dB.
    """

    loudness_lufs: float | None
    true_peak_db: float
    gain_db: float

    @property
    def gain(self) -> np.float32:
        """The gain as a factor of samples."""
        return np.float32(10 ** (self.gain_db / 20))


def resample_and_fade(
    pieces: Iterable[Float32], *, sample_rate: int, new_rate: int, fade_seconds: float
) -> Iterator[Float32]:
    """Yields a clip at another sample rate, faded in and out.

    Args:
      pieces: Samples of the clip, float32 [n] each.
      sample_rate: Sample rate of the pieces, Hz.
      new_rate: Sample rate of the result, Hz.
      fade_seconds: Length of each fade, a raised cosine; at most half of the clip.
    """
    fade = round(fade_seconds * new_rate)
    rise = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
    # Samples that may belong to a fade wait, because the last piece is not known in advance.
    waiting, n_yielded = _EMPTY, 0
    for piece in resample_blocks(pieces, from_rate=sample_rate, to_rate=new_rate, quality="VHQ"):
        waiting = np.concatenate([waiting, piece])
        if len(waiting) > 2 * fade:
            ready, waiting = waiting[: len(waiting) - fade], waiting[len(waiting) - fade :]
            if not n_yielded:
                ready[:fade] *= rise
            n_yielded += len(ready)
            yield ready
    if not n_yielded:
        fade = min(fade, len(waiting) // 2)
        rise = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
        waiting[:fade] *= rise
    waiting[len(waiting) - fade :] *= rise[::-1]
    yield waiting


class LevelMeter:
    """Measures a clip that arrives in pieces.

    Args:
      sample_rate: Sample rate of the clip, Hz.

    References:
      ITU-R BS.1770-4, "Algorithms to measure audio programme loudness and true-peak audio level".
    """

    def __init__(self, sample_rate: int) -> None:
        self._meter = LoudnessMeter(sample_rate)
        self._stream = soxr.ResampleStream(sample_rate, _OVERSAMPLING * sample_rate, 1)
        self._peak = 0.0

    def push(self, samples: Float32) -> None:
        """Takes the next samples, float32 [n]."""
        self._meter.push(samples)
        self._update_peak(samples)
        self._update_peak(self._stream.resample_chunk(samples))

    def _update_peak(self, samples: Float32) -> None:
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0.0)))

    def levels(self, *, loudness_lufs: float | None, true_peak_db: float) -> Levels:
        """Returns the gain of the clip, and its levels after the gain.

        The gain brings the clip to the target loudness, unless its peaks would become too high:
        then it is as high as the peaks allow. Nothing is limited or clipped.

        Args:
          loudness_lufs: Target of the integrated loudness; None to only lower peaks.
          true_peak_db: Upper limit of peaks, also between samples, dB re. full scale.
        """
        self._update_peak(self._stream.resample_chunk(_EMPTY, last=True))
        peak = 20 * float(np.log10(max(self._peak, 1e-9)))
        loudness = self._meter.lufs()
        headroom = true_peak_db - peak
        gain = min(headroom, 0.0)
        if loudness_lufs is not None and loudness is not None:
            gain = min(loudness_lufs - loudness, headroom)
        return Levels(
            loudness_lufs=None if loudness is None else loudness + gain,
            true_peak_db=peak + gain,
            gain_db=gain,
        )
