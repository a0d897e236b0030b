"""Loudness of a signal that arrives in blocks, by ITU-R BS.1770.

pyloudnorm designs the filters. They are applied here, and blocks gated, because pyloudnorm's meter
needs the whole recording at once (2.5 GB for two hours).

References:
  ITU-R BS.1770-4, "Algorithms to measure audio programme loudness", 2015.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from audio.compiled import compiled

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# LUFS: a full-scale sine of 997 Hz then has -3.01 LUFS.
_OFFSET = -0.691
# LUFS: quieter gating blocks do not count.
_ABSOLUTE_GATE = -70.0
# LU below the loudness of the blocks that passed the absolute gate: quieter blocks do not count.
_RELATIVE_GATE = -10.0
# Gating blocks of 400 ms start every 100 ms.
_STEPS_PER_SECOND = 10
_STEPS_PER_BLOCK = 4


class LoudnessMeter:
    """Measures the integrated loudness of one channel.

    Args:
      sample_rate: Sample rate of the signal, Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._coefficients = _k_weighting(sample_rate)
        self._state = np.zeros(6)
        self._step = sample_rate / _STEPS_PER_SECOND
        self._n_samples = 0
        # Energy of each step of 100 ms; samples are still added to the last one.
        self._energies: list[float] = [0.0]

    def push(self, samples: Float32) -> None:
        """Takes the next samples, float32 [n]."""
        at = 0
        while at < len(samples):
            edge = round(len(self._energies) * self._step)
            piece = samples[at : at + edge - self._n_samples]
            self._energies[-1] += _weighted_energy(piece, self._coefficients, self._state)
            self._n_samples += len(piece)
            at += len(piece)
            if self._n_samples == edge:
                self._energies.append(0.0)

    def lufs(self) -> float | None:
        """Returns the integrated loudness, LUFS; None if the signal is too short or too quiet."""
        steps = np.array(self._energies[:-1])
        if len(steps) < _STEPS_PER_BLOCK:
            return None
        windows = np.lib.stride_tricks.sliding_window_view(steps, _STEPS_PER_BLOCK)
        power = windows.sum(axis=1) / (_STEPS_PER_BLOCK * self._step)
        audible = power[power > _power(_ABSOLUTE_GATE)]
        if not len(audible):
            return None
        gate = _power(_loudness(float(audible.mean())) + _RELATIVE_GATE)
        return _loudness(float(audible[audible > gate].mean()))


def gain_to(target_lufs: float, lufs: float | None, *, max_gain_db: float = 40.0) -> float:
    """Returns the factor that brings a signal to a target loudness; 1 if it has no loudness.

    Args:
      target_lufs: Target loudness, LUFS.
      lufs: Measured loudness, LUFS; None if there is none.
      max_gain_db: Upper limit of the gain, dB, so that noise is not raised to the level of music.
    """
    if lufs is None:
        return 1.0
    return float(10 ** (min(target_lufs - lufs, max_gain_db) / 20))


def _loudness(power: float) -> float:
    return _OFFSET + 10 * math.log10(power)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET) / 10))


@functools.lru_cache(maxsize=16)
def _k_weighting(sample_rate: int) -> Float64:
    """Returns the two second-order sections, float64 [2, 5]: b0, b1, b2, a1, a2 of each."""
    from pyloudnorm.iirfilter import IIRfilter

    shelf = IIRfilter(4.0, 1 / math.sqrt(2), 1500.0, sample_rate, "high_shelf")
    high_pass = IIRfilter(0.0, 0.5, 38.0, sample_rate, "high_pass")
    rows = [np.concatenate([section.b, section.a[1:]]) for section in (shelf, high_pass)]
    return np.ascontiguousarray(rows, np.float64)


@compiled(nogil=True, fastmath={"contract"})
def _weighted_energy(samples: Float32, sections: Float64, state: Float64) -> float:
    """Returns the energy of samples [n] after both filter sections.

    Both sections run in one pass in direct form I, in which a sample depends on the previous one
    through only one product and one sum. This takes 2 ns per sample; scipy.signal.lfilter, with a
    pass and an array for each section, takes 20 ns.

    Args:
      samples: Samples, float32 [n].
      sections: Filter coefficients, see _k_weighting.
      state: Last two values of the input and of both outputs, float64 [6]; updated in place.
    """
    b0, b1, b2, a1, a2 = sections[0]
    c0, c1, c2, d1, d2 = sections[1]
    x1, x2, y1, y2, z1, z2 = state
    energy = 0.0
    for sample in samples:
        x = float(sample)
        y = (b0 * x + b1 * x1 + b2 * x2 - a2 * y2) - a1 * y1
        z = (c0 * y + c1 * y1 + c2 * y2 - d2 * z2) - d1 * z1
        x1, x2, y1, y2, z1, z2 = x, x1, y, y1, z, z1
        energy += z * z
    state[0], state[1], state[2], state[3], state[4], state[5] = x1, x2, y1, y2, z1, z2
    return energy
