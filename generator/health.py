"""Checks of a clip: technical faults, and warnings about how tonal it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig
from audio.quality import SILENCE_DB, measure_frames, repetition
from audio.tonality import measure_tonality

# A clip whose mean rise from frame to frame is below this stands still, nats; music has about 0.2.
FROZEN_FLUX = 0.02
# No recording with samples in [-1, 1] has a frame above this level, dB re. full scale.
DIVERGED_DB = 12.0
# Share of a clip's variance that its own frames a lag before explain, above which it loops. A
# mechanical loop has 1, and real clips of game music reach 0.9.
LOOPING = 0.95
# Length of the end of a clip that is searched for a loop, seconds.
LOOP_SECONDS = 20.0
# A clip that is quieter after amplification is not published, LUFS.
QUIET_LUFS = -50.0
# A clip that stays this far below the wanted loudness has only a few loud peaks, dB.
PEAKY_DB = 15.0
# Warning about a clip in which a figure of audio/tonality.py is below nearly all training music.
_WARNINGS = {"tone_100ms": "noisy", "tone_500ms": "no steady tone"}


def check_frames(log_mel: npt.NDArray[np.float32], config: AudioConfig) -> dict[str, Any]:
    """Returns the figures and faults of a clip's frames.

    Args:
      log_mel: Natural-log mel [n_frames, n_mels].
      config: Front end of the frames.

    Returns:
      level_db, flux, silence_share, the figures of measure_tonality, and `faults`, a list of these
      names: `not_finite`, `silent` (the loudest frame is below -60 dB re. full scale), `diverged`
      (the loudest frame is above +12 dB), `frozen` (the second half hardly changes) and `looping`
      (the clip repeats itself mechanically). If the frames are not finite, there are only the
      faults.
    """
    if not np.isfinite(log_mel).all():
        return {"faults": ["not_finite"]}
    whole = measure_frames(log_mel, config)
    second_half = measure_frames(log_mel[len(log_mel) // 2 :], config)
    end = log_mel[-config.frames_for(LOOP_SECONDS) :]
    faults = []
    if whole.peak_db < SILENCE_DB:
        faults.append("silent")
    if whole.peak_db > DIVERGED_DB:
        faults.append("diverged")
    if second_half.flux < FROZEN_FLUX:
        faults.append("frozen")
    elif not faults and float(repetition(end[None], config)[0]) > LOOPING:
        faults.append("looping")
    return {
        "level_db": round(whole.level_db, 2),
        "flux": round(whole.flux, 4),
        "silence_share": round(whole.silence_share, 4),
        **{name: round(value, 4) for name, value in measure_tonality(log_mel, config).items()},
        "faults": faults,
    }


def combine_sections(sections: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the faults of all sections of a clip, and the means of the figures all of them have.

    Args:
      sections: Results of check_frames.
    """
    faults = dict.fromkeys(fault for section in sections for fault in section["faults"])
    figures = {
        name: round(float(np.mean([section[name] for section in sections])), 4)
        for name in sections[0]
        if name != "faults" and all(name in section for section in sections)
    }
    return {**figures, "faults": list(faults)}


def find_warnings(health: Mapping[str, Any], limits: Mapping[str, float]) -> list[str]:
    """Returns the warnings about a clip: `noisy`, `no steady tone`, both, or none.

    Args:
      health: Figures of check_frames or combine_sections.
      limits: Limits of the training music (audio.tonality.tonality_limits); empty if they were not
        measured.
    """
    return [
        warning
        for name, warning in _WARNINGS.items()
        if name in limits and name in health and health[name] < limits[name]
    ]


def check_loudness(loudness: float | None, target_lufs: float | None) -> list[str]:
    """Returns the faults of a clip's loudness: `quiet` or none.

    Args:
      loudness: Integrated loudness of the clip as it would be published, LUFS; None for silence.
      target_lufs: Loudness that the clip was amplified to; None if it was not.
    """
    if loudness is None or loudness < QUIET_LUFS:
        return ["quiet"]
    return ["quiet"] if target_lufs is not None and target_lufs - loudness > PEAKY_DB else []
