"""Whether a clip is worth hearing, by stated limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig
from audio.quality import SILENCE_DB, figures

# Below this much movement from frame to frame a clip stands still; music has about 0.2.
FROZEN_FLUX = 0.02
# No recording within ±1 is so loud; a rollout that is has left music behind.
DIVERGED_DB = 12.0


def examine(log_mel: npt.NDArray[np.float32], config: AudioConfig) -> dict[str, Any]:
    """Returns a clip's figures and what is wrong with it, by the frames it is made from.

    Args:
      log_mel: natural log [n_frames, n_mels].
      config: the front end of the frames.

    Returns:
      level_db, flux and silence_share of the clip, and `faults`: names of what is wrong, from
      `not_finite`, `silent` (its loudest frame is below -60 dB re. full scale), `diverged` (its
      loudest frame is above +12 dB) and `frozen` (the second half hardly moves).
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
    return {
        "level_db": round(whole.level_db, 2),
        "flux": round(whole.flux, 4),
        "silence_share": round(whole.silence_share, 4),
        "faults": faults,
    }
