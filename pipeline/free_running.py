"""What a model makes when it hears only itself, held against how real recordings went on."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from audio import contract, realism
from audio.config import AudioConfig
from audio.errors import InputError
from audio.mel import log_mel
from audio.vocoder import vocode
from generator.health import examine
from generator.inference import Model, roll_out
from generator.requests import derive_seed
from trainer.dataset import Dataset, longest_stretch, primers

Float32 = npt.NDArray[np.float32]

# The difference to more iterations is far below that between models.
_VOCODER_ITERATIONS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class FreeRunning:
    """Figures of free-running rollouts; ratios are of the real continuations' means.

    Attributes:
      rollouts: how many were made.
      seconds: length of each.
      faulty_share: of them that are silent, diverged, frozen, looping or not finite.
      movement_ratio: see audio.realism.movement.
      variance_ratio: see audio.realism.variance.
      rhythm_ratio: see audio.realism.rhythm.
      drift_db: mean magnitude of audio.realism.drift.
      real_drift_db: the same of the real continuations.
      kernel_distance: from the real continuations, see audio.realism.KernelDistance.
      real_kernel_distance: of passages of training recordings from the same: other real music of
        the same collection.
    """

    rollouts: int
    seconds: float
    faulty_share: float
    movement_ratio: float
    variance_ratio: float
    rhythm_ratio: float
    drift_db: float
    real_drift_db: float
    kernel_distance: float
    real_kernel_distance: float


def free_running(
    model: Model, dataset: Dataset, *, rollouts: int, seconds: float, temperature: float | None
) -> FreeRunning:
    """Rolls out after primers of the eval split; both sides pass through the vocoder.

    Stored stretches that are too short for `seconds` make the rollouts shorter. Equal arguments
    give equal figures.

    Args:
      model: a loaded model.
      dataset: whose recordings it is held against.
      rollouts: how many.
      seconds: length of each.
      temperature: see GenerateSettings.

    Raises:
      InputError: no stored stretch is longer than a primer.
    """
    audio = model.audio
    heard = model.info["train"]["primer_frames"]
    longest = longest_stretch(dataset, contract.EVAL)
    n_frames = min(audio.frames_for(seconds), longest - heard)
    if n_frames < 2:
        raise InputError(
            f"{dataset.path}: no held-out recording is longer than a primer of {heard} frames. Add "
            "longer recordings, or lower train.primer_frames."
        )
    passages = _passages(dataset, contract.EVAL, heard + n_frames, rollouts)
    others = _passages(dataset, contract.TRAIN, heard + n_frames, rollouts)
    made = roll_out(
        model,
        passages[:, :heard],
        seeds=[derive_seed(0, index) for index in range(rollouts)],
        n_frames=n_frames,
        temperature=temperature,
    )
    finite = np.nan_to_num(made, nan=-20.0, posinf=20.0, neginf=-20.0).clip(-25.0, 25.0)
    ours, real, other = (
        _vocoded(clips, audio) for clips in (finite, passages[:, heard:], others[:, heard:])
    )
    distance = realism.KernelDistance(realism.statistics(real, audio))
    faulty = [bool(examine(clip, audio)["faults"]) for clip in made]
    return FreeRunning(
        rollouts=rollouts,
        seconds=round(n_frames / audio.frames_per_second, 2),
        faulty_share=float(np.mean(faulty)),
        movement_ratio=_ratio(realism.movement(ours), realism.movement(real)),
        variance_ratio=_ratio(realism.variance(ours), realism.variance(real)),
        rhythm_ratio=_ratio(realism.rhythm(ours, audio), realism.rhythm(real, audio)),
        drift_db=float(np.abs(realism.drift(ours, audio)).mean()),
        real_drift_db=float(np.abs(realism.drift(real, audio)).mean()),
        kernel_distance=distance(realism.statistics(ours, audio)),
        real_kernel_distance=distance(realism.statistics(other, audio)),
    )


def _passages(dataset: Dataset, split: str, n_frames: int, count: int) -> Float32:
    found = primers(dataset, n_frames=n_frames, count=count, split=split)
    chosen = np.resize(np.arange(len(found)), count)
    return np.stack([found[index].log_mel for index in chosen]).astype(np.float32)


def _vocoded(clips: Float32, audio: AudioConfig) -> Float32:
    """Returns what is seen of clips once they are sound: [n_clips, n_frames, n_mels]."""
    heard = []
    for index, clip in enumerate(clips):
        rng = np.random.default_rng(index)
        samples = vocode(clip, audio, rng=rng, iterations=_VOCODER_ITERATIONS)
        heard.append(log_mel(samples, audio)[: clips.shape[1]])
    shortest = min(map(len, heard))
    return np.stack([clip[:shortest] for clip in heard])


def _ratio(ours: npt.NDArray[np.float64], real: npt.NDArray[np.float64]) -> float:
    return float(ours.mean() / max(float(real.mean()), 1e-9))
