"""What is wrong with a rollout, by the health check's limits and by what real music does.

Every collection has its own stillest, loudest and most repetitive passages; a rollout that goes
well beyond all of them is at fault.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig
from audio.quality import SILENCE_DB, level_db, repetition
from generator.health import examine
from pipeline.evaluation import similarity

Float32 = npt.NDArray[np.float32]

DEAD: Final = "dead"
DRONE: Final = "drone"
LOOP: Final = "loop"
DIVERGED: Final = "diverged"
FADING: Final = "fading"
FAULTS: Final = (DEAD, DRONE, LOOP, DIVERGED, FADING)

# What the health check calls them, which looks at each clip by itself.
_BY_HEALTH = {
    "silent": DEAD,
    "frozen": DRONE,
    "looping": LOOP,
    "diverged": DIVERGED,
    "not_finite": DIVERGED,
}
# How far beyond the utmost of the real passages: of any 30 clips one is beyond the others.
_STILLER = 0.7
_NEARER_TO_A_LOOP = 0.3
_LOUDER_DB = 6.0
_FADES_DB = 12.0


class Utmost:
    """How still, repetitive, loud and fading real passages get.

    With m the movement of a clip's second half, r its repetition, e the level of its last quarter
    and d its drift (see pipeline/evaluation/similarity.py), and over the real passages:

      drone     m < 0.7 min(m)
      loop      r > max(r) + 0.3 (1 - max(r))
      diverged  e > max(e) + 6 dB
      fading    d < min(d) and d < -12 dB
      dead      e < -60 dB re. full scale

    Args:
      heard: real passages through the vocoder, [n_clips, n_frames, n_mels].
      config: the front end.
    """

    def __init__(self, heard: Float32, config: AudioConfig) -> None:
        self._config = config
        self._stillest = float(similarity.movement(_second_half(heard)).min())
        self._most_repetitive = float(repetition(heard, config).max())
        self._loudest = max(_ending_db(clip, config) for clip in heard)
        self._fades = min(float(similarity.drift(heard, config).min()), -_FADES_DB)

    def faults(self, made: Float32, heard: Float32) -> tuple[str, ...]:
        """Returns the names of what is wrong with one clip, out of FAULTS.

        Args:
          made: natural-log mel as the model gave it, [n_frames, n_mels].
          heard: the same through the vocoder.
        """
        one = heard[None]
        ending = _ending_db(heard, self._config)
        most = self._most_repetitive
        checks = {
            DEAD: ending < SILENCE_DB,
            DRONE: similarity.movement(_second_half(one))[0] < _STILLER * self._stillest,
            LOOP: repetition(one, self._config)[0] > most + _NEARER_TO_A_LOOP * (1 - most),
            DIVERGED: ending > self._loudest + _LOUDER_DB,
            FADING: similarity.drift(one, self._config)[0] < self._fades,
        }
        found = {_BY_HEALTH[fault] for fault in examine(made, self._config)["faults"]}
        found |= {name for name, is_so in checks.items() if is_so}
        if DEAD in found:
            found -= {DRONE, LOOP}  # silence does not move, and repeats itself
        return tuple(name for name in FAULTS if name in found)


def _second_half(clips: Float32) -> Float32:
    return clips[:, clips.shape[1] // 2 :]


def _ending_db(clip: Float32, config: AudioConfig) -> float:
    """Returns the mean level of a clip's last quarter, dB re. full scale."""
    return float(level_db(clip[-max(1, len(clip) // 4) :], config).mean())
