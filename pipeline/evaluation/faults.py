"""Faults of rollouts, by the limits of the health check and by those of real passages.

Every collection has its own stillest, loudest and most repetitive passages. A rollout that goes
well beyond all of them has a fault.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig
from audio.quality import SILENCE_DB, level_db, repetition
from generator.health import check_frames
from pipeline.evaluation import similarity

Float32 = npt.NDArray[np.float32]

DEAD: Final = "dead"
DRONE: Final = "drone"
LOOP: Final = "loop"
DIVERGED: Final = "diverged"
FADING: Final = "fading"
FAULTS: Final = (DEAD, DRONE, LOOP, DIVERGED, FADING)

# The names that the health check, which looks at each clip by itself, has for the same faults.
_HEALTH_CHECK_NAMES = {
    "silent": DEAD,
    "frozen": DRONE,
    "looping": LOOP,
    "diverged": DIVERGED,
    "not_finite": DIVERGED,
}
# The limits lie beyond the most extreme real passage, because among any 30 clips one is more
# extreme than the other 29.
# A drone moves less than this share of the stillest real passage.
_DRONE_MOVEMENT = 0.7
# A loop closes this share of the gap between the most repetitive real passage and a perfect loop.
_LOOP_REPETITION = 0.3
# A diverged clip ends this much louder than any real passage, dB.
_DIVERGED_DB = 6.0
# A fading clip loses at least this much level, dB.
_FADING_DB = 12.0


class FaultLimits:
    """Limits beyond which a clip has a fault, taken from real passages.

    With m the movement of a clip's second half, r its repetition, e the level of its last quarter
    and d its drift (see pipeline/evaluation/similarity.py), and min and max over the real passages:

      drone     m < 0.7 min(m)
      loop      r > max(r) + 0.3 (1 - max(r))
      diverged  e > max(e) + 6 dB
      fading    d < min(d) and d < -12 dB
      dead      e < -60 dB re. full scale

    Args:
      real: Log-mel of real passages after the vocoder, [n_clips, n_frames, n_mels].
      config: Front end.
    """

    def __init__(self, real: Float32, config: AudioConfig) -> None:
        self._config = config
        self._min_movement = float(similarity.movement(_second_half(real)).min())
        self._max_repetition = float(repetition(real, config).max())
        self._max_ending_db = max(_ending_db(clip, config) for clip in real)
        self._min_drift_db = min(float(similarity.drift(real, config).min()), -_FADING_DB)

    def faults(self, frames: Float32, through_vocoder: Float32) -> tuple[str, ...]:
        """Returns the faults of one clip, in the order of FAULTS.

        Args:
          frames: Log-mel as the model returned it, [n_frames, n_mels].
          through_vocoder: Log-mel of the same clip after the vocoder, [n_frames, n_mels].
        """
        clip = through_vocoder[None]
        ending_db = _ending_db(through_vocoder, self._config)
        max_repetition = self._max_repetition
        checks = {
            DEAD: ending_db < SILENCE_DB,
            DRONE: similarity.movement(_second_half(clip))[0]
            < _DRONE_MOVEMENT * self._min_movement,
            LOOP: repetition(clip, self._config)[0]
            > max_repetition + _LOOP_REPETITION * (1 - max_repetition),
            DIVERGED: ending_db > self._max_ending_db + _DIVERGED_DB,
            FADING: similarity.drift(clip, self._config)[0] < self._min_drift_db,
        }
        names = {
            _HEALTH_CHECK_NAMES[fault] for fault in check_frames(frames, self._config)["faults"]
        }
        names |= {name for name, failed in checks.items() if failed}
        if DEAD in names:
            names -= {DRONE, LOOP}  # silence does not move, and repeats itself
        return tuple(name for name in FAULTS if name in names)


def _second_half(clips: Float32) -> Float32:
    return clips[:, clips.shape[1] // 2 :]


def _ending_db(clip: Float32, config: AudioConfig) -> float:
    """Returns the mean level of a clip's last quarter, dB re. full scale."""
    return float(level_db(clip[-max(1, len(clip) // 4) :], config).mean())
