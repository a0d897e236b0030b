"""How long tones last in log-mel frames: what tells notes from noise.

The ridges of a frame are its log-mel less the mean of the neighbouring bands. A tone is a ridge
that stays where it is. The correlation over bands of a frame's ridges with those of a later frame
is therefore near 1 for held notes and near 0 for noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from audio.config import AudioConfig
from audio.quality import FLOOR_NATS

Floating = npt.NDArray[np.floating]

# Time after which a frame's ridges are compared, by the name of the figure, seconds.
LAGS: Final = {"tone_100ms": 0.1, "tone_500ms": 0.5}
# Ridges stand out of the mean of this many bands.
_NEIGHBOURS: Final = 9
# Share of passages that may be below the lower limit of a figure.
_BELOW: Final = 0.05


def measure_tonality(frames: Floating, config: AudioConfig) -> dict[str, float]:
    """Returns the figures of LAGS: correlations from -1 to 1, weighted by the frames' levels.

    Args:
      frames: Finite natural-log mel [n_frames, n_mels]. Figures whose lag is not shorter than the
        frames are left out.
      config: The front end of the frames.
    """
    audible = np.maximum(frames, FLOOR_NATS).astype(np.float64)
    ridges = audible - uniform_filter1d(audible, _NEIGHBOURS, axis=1, mode="nearest")
    ridges -= ridges.mean(axis=1, keepdims=True)
    norms = np.sqrt(np.square(ridges).sum(axis=1))
    levels = audible.mean(axis=1) - FLOOR_NATS
    figures = {}
    for name, seconds in LAGS.items():
        lag = max(1, round(seconds * config.frames_per_second))
        if len(frames) <= lag:
            continue
        correlation = np.einsum("ij,ij->i", ridges[lag:], ridges[:-lag])
        correlation /= np.maximum(norms[lag:] * norms[:-lag], 1e-9)
        weights = np.sqrt(levels[lag:] * levels[:-lag]) + 1e-9
        figures[name] = float((correlation * weights).sum() / weights.sum())
    return figures


def tonality_limits(passages: Iterable[Floating], config: AudioConfig) -> dict[str, float]:
    """Returns the value of each figure that nearly all of the passages reach.

    Args:
      passages: Natural-log mel [n_frames, n_mels] each; figures are left out for which all are too
        short.
      config: The front end of the frames.
    """
    measured = [measure_tonality(passage, config) for passage in passages]
    values = {name: [row[name] for row in measured if name in row] for name in LAGS}
    return {name: float(np.quantile(row, _BELOW)) for name, row in values.items() if row}
