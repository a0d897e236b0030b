"""The last hand on a clip: sample rate, fades, loudness, and room for its peaks.

A clip arrives in pieces, so that an hour takes no more memory than a minute: `shaped` passes its
pieces on, a Leveller listens to them, and knows at the end how much louder they are to be made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import soxr

from audio.loudness import LoudnessMeter

Float32 = npt.NDArray[np.float32]

# Peaks between samples are looked for at four times the rate, as BS.1770 says.
_OVERSAMPLED = 4
_EMPTY = np.zeros(0, np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Levels:
    """How loud a clip is once it was made gain_db louder.

    Attributes:
      loudness_lufs: its integrated loudness; None for one too short or too quiet to have any.
      true_peak_db: its highest peak, dB re. full scale.
      gain_db: how much louder it is to be made.
    """

    loudness_lufs: float | None
    true_peak_db: float
    gain_db: float

    @property
    def gain(self) -> np.float32:
        """What samples are to be multiplied with."""
        return np.float32(10 ** (self.gain_db / 20))


def shaped(
    pieces: Iterable[Float32], *, sample_rate: int, new_rate: int, fade_seconds: float
) -> Iterator[Float32]:
    """Yields a clip at another rate, faded at both ends.

    Args:
      pieces: float32 [n] each.
      sample_rate: of the pieces, Hz.
      new_rate: of what is yielded, Hz.
      fade_seconds: of each end, a raised cosine; at most half of the clip.
    """
    fade = round(fade_seconds * new_rate)
    rise = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
    # What may be faded, at either end, is held back: the end is not known before it is there.
    waiting, n_yielded = _EMPTY, 0
    for piece in _resampled(pieces, sample_rate, new_rate):
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


def _resampled(pieces: Iterable[Float32], sample_rate: int, new_rate: int) -> Iterator[Float32]:
    if new_rate == sample_rate:
        yield from pieces
        return
    stream = soxr.ResampleStream(sample_rate, new_rate, 1, quality="VHQ")
    for piece in pieces:
        yield stream.resample_chunk(piece)
    yield stream.resample_chunk(_EMPTY, last=True)


class Leveller:
    """Measures a clip that arrives in pieces.

    Args:
      sample_rate: in Hz.

    References:
      ITU-R BS.1770-4, "Algorithms to measure audio programme loudness and true-peak audio level".
    """

    def __init__(self, sample_rate: int) -> None:
        self._meter = LoudnessMeter(sample_rate)
        self._stream = soxr.ResampleStream(sample_rate, _OVERSAMPLED * sample_rate, 1)
        self._peak = 0.0

    def push(self, samples: Float32) -> None:
        """Takes the next samples, float32 [n]."""
        self._meter.push(samples)
        self._look(samples)
        self._look(self._stream.resample_chunk(samples))

    def _look(self, samples: Float32) -> None:
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0.0)))

    def levels(self, *, loudness_lufs: float | None, true_peak_db: float) -> Levels:
        """Returns the levels of all that was pushed, after the gain that it is to get.

        It is made as loud as asked, or as its peaks leave room for, whichever is less: nothing is
        limited or clipped.

        Args:
          loudness_lufs: wanted integrated loudness; None to only make room for peaks.
          true_peak_db: the highest peak between samples, dB re. full scale.
        """
        self._look(self._stream.resample_chunk(_EMPTY, last=True))
        peak = 20 * float(np.log10(max(self._peak, 1e-9)))
        loudness = self._meter.lufs()
        room = true_peak_db - peak
        gain = min(room, 0.0)
        if loudness_lufs is not None and loudness is not None:
            gain = min(loudness_lufs - loudness, room)
        return Levels(
            loudness_lufs=None if loudness is None else loudness + gain,
            true_peak_db=peak + gain,
            gain_db=gain,
        )
