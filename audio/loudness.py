"""Loudness of a signal that arrives in blocks: ITU-R BS.1770, as pyloudnorm computes it at once.

pyloudnorm designs the filters; only running them block by block and the gating are done here,
because its meter wants the whole recording (2.5 GB for two hours).

References:
  ITU-R BS.1770-4, "Algorithms to measure audio programme loudness", 2015.
"""

from __future__ import annotations

import functools
import math

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_OFFSET = -0.691  # LUFS; makes a full-scale sine of 997 Hz read -3.01
_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
# A gating block is 400 ms, each a quarter of it after the one before.
_STEPS_PER_SECOND = 10
_STEPS_PER_BLOCK = 4


class LoudnessMeter:
    """Integrated loudness of one channel.

    Args:
      sample_rate: in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._coefficients = _k_weighting(sample_rate)
        self._state = np.zeros(6)
        self._step = sample_rate / _STEPS_PER_SECOND
        self._n_samples = 0
        self._energies: list[float] = [0.0]  # of each step of 100 ms, the last one still growing

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
        """Returns the integrated loudness, LUFS; None under 400 ms or where all is gated out."""
        steps = np.array(self._energies[:-1])
        if len(steps) < _STEPS_PER_BLOCK:
            return None
        windows = np.lib.stride_tricks.sliding_window_view(steps, _STEPS_PER_BLOCK)
        power = windows.sum(axis=1) / (_STEPS_PER_BLOCK * self._step)
        kept = power[power > _power(_ABSOLUTE_GATE)]
        if not len(kept):
            return None
        kept = kept[kept > _power(_loudness(float(kept.mean())) + _RELATIVE_GATE)]
        return _loudness(float(kept.mean()))


def gain_to(target_lufs: float, lufs: float | None, *, most_db: float = 40.0) -> float:
    """Returns the factor that brings a loudness to a target; 1 where there is no loudness.

    Args:
      target_lufs: wanted, LUFS.
      lufs: measured, LUFS.
      most_db: what is raised at the most, so that hiss does not become music.
    """
    if lufs is None:
        return 1.0
    return float(10 ** (min(target_lufs - lufs, most_db) / 20))


def _loudness(power: float) -> float:
    return _OFFSET + 10 * math.log10(power)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET) / 10))


@functools.lru_cache(maxsize=16)
def _k_weighting(sample_rate: int) -> Float64:
    """Returns two second-order sections, float64 [2, 5]: b0, b1, b2, a1, a2 each."""
    from pyloudnorm.iirfilter import IIRfilter

    shelf = IIRfilter(4.0, 1 / math.sqrt(2), 1500.0, sample_rate, "high_shelf")
    high_pass = IIRfilter(0.0, 0.5, 38.0, sample_rate, "high_pass")
    rows = [np.concatenate([section.b, section.a[1:]]) for section in (shelf, high_pass)]
    return np.ascontiguousarray(rows, np.float64)


@numba.njit(cache=True, nogil=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _weighted_energy(samples: Float32, sections: Float64, state: Float64) -> float:
    """Returns the energy of float32 [n] after both sections; state [6] goes on from call to call.

    Both run in one pass in direct form I, where only one product and one sum wait for the sample
    before: 2 ns a sample where scipy's lfilter, with a pass and an array for each, takes 20.
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
