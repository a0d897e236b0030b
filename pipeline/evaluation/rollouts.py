"""Rollouts beside real music: what the evaluator's figures are taken from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from audio import contract
from audio.config import AudioConfig
from audio.errors import InputError
from audio.mel import log_mel
from audio.vocoder import vocode
from generator.inference import Model, roll_out
from generator.requests import derive_seed
from pipeline.evaluation.passages import Passage, passage_frames, passages
from trainer.data.windows import Dataset

Float32 = npt.NDArray[np.float32]

# The difference to more iterations is far below that between models.
_VOCODER_ITERATIONS = 8
# Training passages for one rollout: what other music of the collection is like is an anchor of the
# verdict, and should not hang on which passages were taken.
_OTHERS = 3
# Primers that are continued twice, to see how different the two are: a third, and at least these.
_LEAST_AGAIN = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clips:
    """Clips of one length, natural-log mel [n_clips, n_frames, n_mels].

    Attributes:
      frames: as they were made, or stored.
      heard: the same once they are sound: through the vocoder and the front end.
    """

    frames: Float32
    heard: Float32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listening:
    """What there is to compare; clip i of each belongs to primer i, but for `others`.

    Attributes:
      audio: the front end.
      primers: passages of held-out recordings: the primer, and what the recording goes on with.
      seeds: of the rollouts.
      made: rollouts.
      again: rollouts of some of the primers with other seeds.
      again_of: which primers, evenly spread over all: the first alone would be of one recording.
      real: how the recordings went on.
      neighbours: other passages of the same recordings, in the same order.
      others: passages of training recordings, more of them.
    """

    audio: AudioConfig
    primers: tuple[Passage, ...]
    seeds: tuple[int, ...]
    made: Clips
    again: Clips
    again_of: tuple[int, ...]
    real: Clips
    neighbours: Clips
    others: Clips


def listen(
    model: Model,
    dataset: Dataset,
    *,
    rollouts: int,
    seconds: float,
    temperature: float | None = None,
    seed: int = 0,
) -> Listening:
    """Rolls out after primers of held-out recordings; all sides pass through the vocoder.

    Where no recording is long enough, rollouts are shorter. Equal arguments give equal clips.

    Args:
      model: a loaded model.
      dataset: whose recordings it is held against.
      rollouts: how many.
      seconds: length of each.
      temperature: see GenerateSettings.
      seed: of all of the rollouts.

    Raises:
      InputError: no recording is longer than a primer.
    """
    audio = model.audio
    heard = model.info["train"]["primer_frames"]
    wanted = heard + audio.frames_for(seconds)
    whole = min(passage_frames(dataset, split, wanted) for split in contract.SPLITS)
    n_frames = whole - heard
    if n_frames < 2:
        raise InputError(
            f"{dataset.path}: no recording is longer than two primers of {heard} frames, in each "
            "split. Add longer recordings, or lower train.primer_frames."
        )
    both = passages(dataset, contract.EVAL, n_frames=whole, count=rollouts, each=2)
    primers = both[0::2]
    others = passages(dataset, contract.TRAIN, n_frames=whole, count=_OTHERS * rollouts)
    starts = _stack(primers)[:, :heard]
    count_again = min(rollouts, max(_LEAST_AGAIN, rollouts // 3))
    again_of = [index * rollouts // count_again for index in range(count_again)]
    seeds = [derive_seed(seed, index) for index in range(rollouts)]
    made = roll_out(
        model,
        np.concatenate([starts, starts[again_of]]),
        seeds=seeds + [derive_seed(seed, index, attempt=1) for index in again_of],
        n_frames=n_frames,
        temperature=temperature,
    )
    return Listening(
        audio=audio,
        primers=tuple(primers),
        seeds=tuple(seeds),
        made=_clips(made[:rollouts], audio),
        again=_clips(made[rollouts:], audio, again_of),
        again_of=tuple(again_of),
        real=_clips(_stack(primers)[:, heard:], audio),
        neighbours=_clips(_stack(_far_neighbours(both))[:, heard:], audio),
        others=_clips(_stack(others)[:, heard:], audio),
    )


def _far_neighbours(both: Sequence[Passage]) -> list[Passage]:
    """Returns for each first of two passages one of the same recording that lies far from it.

    Passages of a recording follow one another: the second ones are turned by half their number.
    """
    found: list[Passage] = []
    for key in dict.fromkeys(passage.recording_id for passage in both):
        here = [passage for passage in both[1::2] if passage.recording_id == key]
        half = len(here) // 2
        found += here[half:] + here[:half]
    return found


def _stack(found: Sequence[Passage]) -> Float32:
    return np.stack([passage.log_mel for passage in found]).astype(np.float32)


def _clips(frames: Float32, audio: AudioConfig, numbers: Sequence[int] | None = None) -> Clips:
    """Returns clips with what is heard of them; what is not finite is heard as noise.

    Args:
      frames: natural-log mel [n_clips, n_frames, n_mels].
      audio: the front end.
      numbers: of the clips, which the vocoder's phases begin with: two clips of one number differ
        by their frames alone. From 0 unless given.
    """
    finite = np.nan_to_num(frames, nan=-20.0, posinf=20.0, neginf=-20.0).clip(-25.0, 25.0)
    return Clips(frames=frames, heard=_vocoded(finite, audio, numbers))


def _vocoded(clips: Float32, audio: AudioConfig, numbers: Sequence[int] | None) -> Float32:
    """Returns what is seen of clips once they are sound: [n_clips, n_frames, n_mels]."""
    heard = []
    for number, clip in zip(numbers or range(len(clips)), clips, strict=True):
        rng = np.random.default_rng(number)
        samples = vocode(clip, audio, rng=rng, iterations=_VOCODER_ITERATIONS)
        heard.append(log_mel(samples, audio)[: clips.shape[1]])
    shortest = min(map(len, heard))
    return np.stack([clip[:shortest] for clip in heard])
