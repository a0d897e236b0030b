"""Whether a clip is worth hearing, by stated limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig
from audio.quality import SILENCE_DB, figures, repetition

# Below this much movement from frame to frame a clip stands still; music has about 0.2.
FROZEN_FLUX = 0.02
# No recording within ±1 is so loud; a rollout that is has left music behind.
DIVERGED_DB = 12.0
# Share of its variance that a clip's own frames some lag before explain. Real clips of game music
# reach 0.9; a mechanical loop has 1. Looked at in the last LOOP_SECONDS.
LOOPING, LOOP_SECONDS = 0.95, 20.0
# Below this a clip is too quiet to be published, however it was amplified, LUFS.
QUIET_LUFS = -50.0
# So much quieter than asked is a clip of few loud peaks.
PEAKY_DB = 15.0


def examine(log_mel: npt.NDArray[np.float32], config: AudioConfig) -> dict[str, Any]:
    """Returns a clip's figures and what is wrong with it, by the frames it is made from.

    Args:
      log_mel: natural log [n_frames, n_mels].
      config: the front end of the frames.

    Returns:
      level_db, flux and silence_share of the clip, and `faults`: names of what is wrong, from
      `not_finite`, `silent` (its loudest frame is below -60 dB re. full scale), `diverged` (its
      loudest frame is above +12 dB), `frozen` (the second half hardly moves) and `looping` (it
      repeats itself mechanically).
    """
    if not np.isfinite(log_mel).all():
        return {"faults": ["not_finite"]}
    whole = figures(log_mel, config)
    late = figures(log_mel[len(log_mel) // 2 :], config)
    faults = []
    if whole.peak_db < SILENCE_DB:
        faults.append("silent")
    if whole.peak_db > DIVERGED_DB:
        faults.append("diverged")
    if late.flux < FROZEN_FLUX:
        faults.append("frozen")
    elif not faults and float(repetition(_last(log_mel, config)[None], config)[0]) > LOOPING:
        faults.append("looping")
    return {
        "level_db": round(whole.level_db, 2),
        "flux": round(whole.flux, 4),
        "silence_share": round(whole.silence_share, 4),
        "faults": faults,
    }


def _last(log_mel: npt.NDArray[np.float32], config: AudioConfig) -> npt.NDArray[np.float32]:
    return log_mel[-config.frames_for(LOOP_SECONDS) :]


def joined(healths: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns a clip's health by its sections': all their faults, the mean of their figures."""
    faults = list(dict.fromkeys(fault for health in healths for fault in health["faults"]))
    names = [name for name in healths[0] if all(name in health for health in healths)]
    figures = {
        name: round(float(np.mean([health[name] for health in healths])), 4)
        for name in names
        if name != "faults"
    }
    return {**figures, "faults": faults}


def examine_sound(loudness: float | None, wanted_lufs: float | None) -> list[str]:
    """Returns what is wrong with a clip by its sound: `quiet` or nothing.

    Args:
      loudness: integrated, LUFS, as it would be published; None where it has none.
      wanted_lufs: what it was to be brought to; None where nothing was asked.
    """
    if loudness is None or loudness < QUIET_LUFS:
        return ["quiet"]
    if wanted_lufs is not None and wanted_lufs - loudness > PEAKY_DB:
        return ["quiet"]
    return []
