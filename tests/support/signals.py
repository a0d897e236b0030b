"""Signals whose content is known, and files made of them."""

from __future__ import annotations

import pathlib

import numpy as np
import numpy.typing as npt
import soundfile

Float32 = npt.NDArray[np.float32]


def sine(hz: float, *, seconds: float, rate: int = 22050, level: float = 0.5) -> Float32:
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def noise(*, seconds: float, rate: int = 22050, seed: int = 0, level: float = 0.1) -> Float32:
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal(round(seconds * rate))).astype(np.float32)


def tune(*, seconds: float, rate: int = 22050, seed: int = 0) -> Float32:
    """Decaying notes on a scale, four a second: something with onsets and harmonics."""
    rng = np.random.default_rng(seed)
    total = np.zeros(round(seconds * rate) + rate, np.float32)
    time = np.arange(rate) / rate
    for start in np.arange(0, seconds, 0.25):
        hz = 220 * 2 ** (rng.choice([0, 2, 3, 5, 7, 8, 10, 12]) / 12)
        partials = (np.sin(2 * np.pi * hz * k * time) / k for k in (1, 2, 3, 4))
        note = np.sum(list(partials), axis=0) * np.exp(-4 * time) * 0.15
        at = round(start * rate)
        total[at : at + rate] += note.astype(np.float32)
    return total[: round(seconds * rate)]


def write(
    path: pathlib.Path, samples: Float32, *, rate: int = 22050, **kwargs: str
) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **kwargs)
    return path
