"""Rollouts of a model and the real passages that they are compared with."""

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
from pipeline.evaluation.musical_figures import measure_clip
from trainer.data.passages import Passage, cut_passages, passage_frames
from trainer.data.windows import Dataset

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# Iterations of the vocoder. More of them change the figures far less than another model does.
_VOCODER_ITERATIONS = 8
# Every third primer is continued twice, to see how much two rollouts differ.
_SECOND_SEED_EVERY = 3
# Least number of primers that are continued twice, if there are as many.
_MIN_SECOND_SEED = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clips:
    """Clips of equal length as natural-log mel, [n_clips, n_frames, n_mels].

    Attributes:
      frames: Frames as the model returned them, or as the dataset stores them.
      through_vocoder: The same after the vocoder and the front end; possibly fewer frames.
      figures: Figures of each clip's sound, float64 [n_clips, len(FIGURES)].
      recordings: For each clip, the id of the recording that it is cut from, or continues.
    """

    frames: Float32
    through_vocoder: Float32
    figures: Float64
    recordings: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutSet:
    """Rollouts and the real passages that they are compared with.

    Clip i of `rollouts`, `continuations` and `same_recording` belongs to primer i.

    Attributes:
      audio: Front end.
      primers: Passages of held-out recordings: each is a primer and its continuation.
      seeds: Seeds of the rollouts.
      rollouts: Rollouts after the primers.
      second_seed: Rollouts with a second seed, after some of the primers.
      second_seed_of: Indices of these primers, spread evenly over all, because neighbouring ones
        are of the same recording.
      continuations: Real continuations of the primers.
      same_recording: Other passages of the same recordings.
      training_passages: Passages of training recordings, as many as rollouts.
    """

    audio: AudioConfig
    primers: tuple[Passage, ...]
    seeds: tuple[int, ...]
    rollouts: Clips
    second_seed: Clips
    second_seed_of: tuple[int, ...]
    continuations: Clips
    same_recording: Clips
    training_passages: Clips


def make_rollouts(
    model: Model,
    dataset: Dataset,
    *,
    rollouts: int,
    seconds: float,
    temperature: float | None = None,
    seed: int = 0,
) -> RolloutSet:
    """Rolls a model out after primers of held-out recordings, and vocodes both sides.

    If no recording is long enough, the rollouts are shorter. Equal arguments give equal clips.

    Args:
      model: Loaded model.
      dataset: Dataset whose recordings the rollouts are compared with.
      rollouts: Number of rollouts.
      seconds: Length of each.
      temperature: See GenerateSettings.
      seed: Seed from which the seeds of all rollouts are derived.

    Raises:
      InputError: No recording is long enough for a primer and a continuation.
    """
    audio = model.audio
    primer_frames = model.info["train"]["primer_frames"]
    wanted = primer_frames + audio.frames_for(seconds)
    length = min(passage_frames(dataset, split, wanted) for split in contract.SPLITS)
    n_frames = length - primer_frames
    if n_frames < 2:
        raise InputError(
            f"{dataset.path}: each split needs a recording that is longer than two primers of "
            f"{primer_frames} frames. Add longer recordings, or lower train.primer_frames."
        )
    pairs = cut_passages(dataset, contract.EVAL, n_frames=length, count=rollouts, neighbours=2)
    primers = pairs[0::2]
    training = cut_passages(dataset, contract.TRAIN, n_frames=length, count=rollouts)
    starts = _stack(primers)[:, :primer_frames]
    n_second = min(rollouts, max(_MIN_SECOND_SEED, rollouts // _SECOND_SEED_EVERY))
    second_seed_of = [index * rollouts // n_second for index in range(n_second)]
    seeds = [derive_seed(seed, index) for index in range(rollouts)]
    frames = roll_out(
        model,
        np.concatenate([starts, starts[second_seed_of]]),
        seeds=seeds + [derive_seed(seed, index, attempt=1) for index in second_seed_of],
        n_frames=n_frames,
        temperature=temperature,
    )
    recordings = [passage.recording_id for passage in primers]
    return RolloutSet(
        audio=audio,
        primers=tuple(primers),
        seeds=tuple(seeds),
        rollouts=measure_clips(frames[:rollouts], audio, recordings),
        second_seed=measure_clips(
            frames[rollouts:], audio, [recordings[i] for i in second_seed_of], second_seed_of
        ),
        second_seed_of=tuple(second_seed_of),
        continuations=_measure_passages(primers, primer_frames, audio),
        same_recording=_measure_passages(_distant_partners(pairs), primer_frames, audio),
        training_passages=_measure_passages(training, primer_frames, audio),
    )


def _distant_partners(pairs: Sequence[Passage]) -> list[Passage]:
    """Returns, for the first passage of each pair, a distant passage of the same recording.

    The pairs of a recording follow one another in time. Their second passages are rotated by half
    of their number, so that each first passage gets one from the other half of the recording.
    """
    partners: list[Passage] = []
    for recording_id in dict.fromkeys(passage.recording_id for passage in pairs):
        second = [passage for passage in pairs[1::2] if passage.recording_id == recording_id]
        half = len(second) // 2
        partners += second[half:] + second[:half]
    return partners


def _stack(passages: Sequence[Passage]) -> Float32:
    return np.stack([passage.log_mel for passage in passages]).astype(np.float32)


def _measure_passages(passages: Sequence[Passage], primer_frames: int, audio: AudioConfig) -> Clips:
    """Returns the continuations of passages as clips."""
    recordings = [passage.recording_id for passage in passages]
    return measure_clips(_stack(passages)[:, primer_frames:], audio, recordings)


def measure_clips(
    frames: Float32,
    audio: AudioConfig,
    recordings: Sequence[str],
    numbers: Sequence[int] | None = None,
) -> Clips:
    """Passes clips through the vocoder and measures them; values that are not finite become noise.

    Args:
      frames: Natural-log mel, [n_clips, n_frames, n_mels].
      audio: Front end.
      recordings: The recording of each clip.
      numbers: Number of each clip, from which the vocoder's initial phases follow, so that two
        clips of one number differ only by their frames. 0, 1, 2, ... by default.
    """
    finite = np.nan_to_num(frames, nan=-20.0, posinf=20.0, neginf=-20.0).clip(-25.0, 25.0)
    vocoded, figures = [], []
    for number, clip in zip(numbers or range(len(finite)), finite, strict=True):
        rng = np.random.default_rng(number)
        samples = vocode(clip, audio, rng=rng, iterations=_VOCODER_ITERATIONS)
        sound = log_mel(samples, audio)[: finite.shape[1]]
        vocoded.append(sound)
        figures.append(list(measure_clip(samples, sound, audio).values()))
    shortest = min(map(len, vocoded))
    return Clips(
        frames=frames,
        through_vocoder=np.stack([clip[:shortest] for clip in vocoded]),
        figures=np.array(figures),
        recordings=tuple(recordings),
    )
