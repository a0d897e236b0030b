"""Signals whose content is known, and files of them."""

from __future__ import annotations

import functools
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
    """Returns decaying notes of a scale, four a second: a signal with onsets and harmonics."""
    rng = np.random.default_rng(seed)
    total = np.zeros(round(seconds * rate) + rate, np.float32)
    for start in np.arange(0, seconds, 0.25):
        semitones = int(rng.choice([0, 2, 3, 5, 7, 8, 10, 12]))
        first = round(start * rate)
        total[first : first + rate] += _note(semitones, rate)
    return total[: round(seconds * rate)]


@functools.cache
def _note(semitones: int, rate: int) -> Float32:
    """Returns one second of a decaying note so many semitones above 220 Hz."""
    hz, time = 220 * 2 ** (semitones / 12), np.arange(rate) / rate
    partials = (np.sin(2 * np.pi * hz * k * time) / k for k in (1, 2, 3, 4))
    note: Float32 = (np.sum(list(partials), axis=0) * np.exp(-4 * time) * 0.15).astype(np.float32)
    return note


def write(
    path: pathlib.Path, samples: Float32, *, rate: int = 22050, **kwargs: str
) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **kwargs)
    return path


def write_tunes(folder: pathlib.Path, *, count: int, seconds: float) -> pathlib.Path:
    """Writes tunes to 0.wav, 1.wav ..., each a second longer than the one before, as float32."""
    for index in range(count):
        write(folder / f"{index}.wav", tune(seconds=seconds + index, seed=index), subtype="FLOAT")
    return folder
