"""Figures of rollouts, compared with the real continuations of their primers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from audio import contract
from generator.inference import Model
from pipeline.evaluation import similarity
from pipeline.evaluation.faults import DEAD, DIVERGED, DRONE, FADING, LOOP, FaultLimits
from pipeline.evaluation.memorization import Nearest, NearestStretch, mean_distance
from pipeline.evaluation.passages import Passage, read_whole_recordings
from pipeline.evaluation.rollouts import Clips, RolloutSet, make_rollouts
from trainer.data.windows import Dataset

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Interval = tuple[float, float]

# Lower bound of the kernel distance of other real music. With a few dozen clips, smaller values
# cannot be distinguished from zero.
_MIN_DISTANCE = 15.0
# Lower bound of the drift of real recordings, dB. Without it, any drift would count as large if
# the recordings hardly change their level.
_MIN_DRIFT_DB = 1.0
# A stretch is a copy if its distance from the training music is below this share of the median
# distance of held-out real stretches.
_COPY = 0.5
# Cells of a clip within this much of its loudest one count as audible, nats: 70 dB.
_AUDIBLE_NATS = 7 * np.log(10)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutFigures:
    """Figures of rollouts. A ratio compares them with the mean of the real continuations.

    Both sides went through the vocoder. Intervals are the middle 90% of a bootstrap over clips.

    Attributes:
      rollouts: Number of rollouts.
      seconds: Length of each.
      faulty_share: Share of rollouts with any fault of pipeline/evaluation/faults.py.
      dead_share, drone_share, loop_share, diverged_share, fading_share: Share with each fault.
      real_faulty_share: Share of other passages of the same recordings with any fault.
      movement_ratio: Ratio of pipeline.evaluation.similarity.movement.
      movement_interval: Interval of movement_ratio.
      variance_ratio: Ratio of pipeline.evaluation.similarity.variance.
      variance_interval: Interval of variance_ratio.
      rhythm_ratio: Ratio of pipeline.evaluation.similarity.rhythm.
      rhythm_interval: Interval of rhythm_ratio.
      attack_ratio: Ratio of pipeline.evaluation.similarity.attack; -1 for music played backwards.
      attack_interval: Interval of attack_ratio.
      drift_db: Mean magnitude of pipeline.evaluation.similarity.drift.
      real_drift_db: The same of the real continuations.
      drift_ratio: drift_db divided by real_drift_db, or by 1 dB if that is smaller.
      kernel_distance: Distance from the real continuations, see similarity.KernelDistance.
      kernel_interval: Interval of kernel_distance.
      same_kernel_distance: Distance of other passages of the same recordings: about 0.
      real_kernel_distance: Distance of passages of training recordings: other real music of the
        same collection.
      real_kernel_interval: Interval of real_kernel_distance.
      kernel_ratio: kernel_distance divided by real_kernel_distance, or by 15 if that is smaller.
      kernel_ratio_interval: Interval of kernel_ratio, without the uncertainty of the divisor.
      diversity_ratio: Difference of two rollouts of one primer, divided by that of two passages of
        one recording (pipeline.evaluation.memorization.mean_distance).
      nearest_ratio: Median distance of a stretch to the nearest one in the training recordings,
        divided by that of held-out real stretches (pipeline.evaluation.memorization).
      copied_share: Share of stretches that are nearer than half of the median real one.
      real_copied_share: The same of held-out real stretches, because pieces of a collection may
        quote each other.
      vocoder_kernel_distance: same_kernel_distance without the vocoder on the passages: what the
        vocoder adds or removes.
      vocoder_movement_ratio: Movement after the vocoder, divided by that before.
      vocoder_error_db: Mean magnitude of the change of log-mel by the vocoder, over cells within
        70 dB of a clip's loudest.
    """

    rollouts: int
    seconds: float
    faulty_share: float
    dead_share: float
    drone_share: float
    loop_share: float
    diverged_share: float
    fading_share: float
    real_faulty_share: float
    movement_ratio: float
    movement_interval: Interval
    variance_ratio: float
    variance_interval: Interval
    rhythm_ratio: float
    rhythm_interval: Interval
    attack_ratio: float
    attack_interval: Interval
    drift_db: float
    real_drift_db: float
    drift_ratio: float
    kernel_distance: float
    kernel_interval: Interval
    same_kernel_distance: float
    real_kernel_distance: float
    real_kernel_interval: Interval
    kernel_ratio: float
    kernel_ratio_interval: Interval
    diversity_ratio: float
    nearest_ratio: float | None
    copied_share: float | None
    real_copied_share: float | None
    vocoder_kernel_distance: float
    vocoder_movement_ratio: float
    vocoder_error_db: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of all rollouts, and a description of each.

    Attributes:
      figures: Figures of all rollouts together.
      clips: For each rollout its primer, seed and faults, and the nearest training music.
    """

    figures: RolloutFigures
    clips: tuple[dict[str, Any], ...]


def measure_model(
    model: Model, dataset: Dataset, *, rollouts: int, seconds: float, temperature: float | None
) -> RolloutFigures:
    """Returns the figures of rollouts of a model; see make_rollouts and measure_rollouts."""
    rollout_set = make_rollouts(
        model, dataset, rollouts=rollouts, seconds=seconds, temperature=temperature
    )
    return measure_rollouts(rollout_set, dataset).figures


def measure_rollouts(rollout_set: RolloutSet, dataset: Dataset) -> Measured:
    """Returns the figures of rollouts.

    Args:
      rollout_set: Rollouts and the real passages that they are compared with.
      dataset: Dataset in whose training split copies are searched for.
    """
    audio = rollout_set.audio
    rollouts, real = rollout_set.rollouts, rollout_set.continuations
    weights = similarity.bootstrap_weights(len(rollouts.frames), np.random.default_rng(0))
    drift, real_drift = (
        float(np.abs(similarity.drift(clips.through_vocoder, audio)).mean())
        for clips in (rollouts, real)
    )
    faults, real_faults = _faults(rollout_set)
    copies, nearest = _copies(rollout_set, dataset)
    figures = RolloutFigures(
        rollouts=len(rollouts.frames),
        seconds=round(rollouts.frames.shape[1] / audio.frames_per_second, 2),
        faulty_share=_share(map(bool, faults)),
        dead_share=_share(DEAD in names for names in faults),
        drone_share=_share(DRONE in names for names in faults),
        loop_share=_share(LOOP in names for names in faults),
        diverged_share=_share(DIVERGED in names for names in faults),
        fading_share=_share(FADING in names for names in faults),
        real_faulty_share=_share(map(bool, real_faults)),
        drift_db=drift,
        real_drift_db=real_drift,
        drift_ratio=drift / max(real_drift, _MIN_DRIFT_DB),
        **_ratios(rollout_set, weights),
        **_distances(rollout_set, weights),
        **copies,
        **_vocoder_figures(real),
    )
    return Measured(
        figures=figures,
        clips=tuple(
            {**_primer(passage), "seed": seed, "faults": list(names), **nearest_stretch}
            for passage, seed, names, nearest_stretch in zip(
                rollout_set.primers, rollout_set.seeds, faults, nearest, strict=True
            )
        ),
    )


def _ratios(rollout_set: RolloutSet, weights: Float64) -> dict[str, Any]:
    """Returns the ratios of what is measured clip by clip, with their intervals."""
    functions: dict[str, Callable[[Float32], Float64]] = {
        "movement": similarity.movement,
        "variance": similarity.variance,
        "rhythm": lambda clips: similarity.rhythm(clips, rollout_set.audio),
        "attack": similarity.attack,
    }
    figures: dict[str, Any] = {}
    for name, function in functions.items():
        generated = function(rollout_set.rollouts.through_vocoder)
        real = function(rollout_set.continuations.through_vocoder)
        figures[f"{name}_ratio"] = _ratio(generated.mean(), real.mean())
        draws = (weights @ generated) / np.maximum(weights @ real, 1e-9)
        figures[f"{name}_interval"] = similarity.middle_90_percent(draws)
    return figures


def _distances(rollout_set: RolloutSet, weights: Float64) -> dict[str, Any]:
    """Returns the kernel distances, and how much rollouts of one primer differ."""

    def features(clips: Clips) -> Float64:
        return similarity.segment_statistics(clips.through_vocoder, rollout_set.audio)

    real = features(rollout_set.continuations)
    per_clip = len(real) // len(rollout_set.continuations.frames)
    distance = similarity.KernelDistance(real, per_clip=per_clip)

    def segments(clips: Clips) -> Float64:
        return distance.standardise(features(clips)).reshape(len(clips.frames), per_clip, -1)

    generated = features(rollout_set.rollouts)
    training = features(rollout_set.training_passages)
    draws = distance.resample(generated, weights)
    training_weights = similarity.bootstrap_weights(
        len(rollout_set.training_passages.frames), np.random.default_rng(1)
    )
    divisor = max(distance(training), _MIN_DISTANCE)
    same_recording = rollout_set.same_recording
    before_vocoder = same_recording.frames[:, : same_recording.through_vocoder.shape[1]]
    twice = list(rollout_set.second_seed_of)
    return {
        "kernel_distance": distance(generated),
        "kernel_interval": similarity.middle_90_percent(draws),
        "same_kernel_distance": distance(features(same_recording)),
        "real_kernel_distance": distance(training),
        "real_kernel_interval": similarity.middle_90_percent(
            distance.resample(training, training_weights)
        ),
        "kernel_ratio": distance(generated) / divisor,
        "kernel_ratio_interval": similarity.middle_90_percent(draws / divisor),
        "diversity_ratio": _ratio(
            mean_distance(segments(rollout_set.rollouts)[twice], segments(rollout_set.second_seed)),
            mean_distance(segments(rollout_set.continuations), segments(same_recording)),
        ),
        "vocoder_kernel_distance": distance(
            similarity.segment_statistics(before_vocoder, rollout_set.audio)
        ),
    }


def _faults(rollout_set: RolloutSet) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Returns the faults of each rollout, and of each other passage of the same recordings."""
    real = (rollout_set.continuations, rollout_set.training_passages)
    limits = FaultLimits(
        np.concatenate([clips.through_vocoder for clips in real]), rollout_set.audio
    )
    rollouts, same_recording = (
        [limits.faults(*clip) for clip in zip(clips.frames, clips.through_vocoder, strict=True)]
        for clips in (rollout_set.rollouts, rollout_set.same_recording)
    )
    return rollouts, same_recording


def _copies(
    rollout_set: RolloutSet, dataset: Dataset
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Searches the training recordings for the stretches of the rollouts."""
    search = NearestStretch(
        np.concatenate(list(rollout_set.training_passages.frames)), rollout_set.audio
    )
    finite = np.nan_to_num(rollout_set.rollouts.frames, nan=0.0)
    stretches = [search.cut(frames) for frames in (finite, rollout_set.continuations.frames)]
    count, n_stretches = stretches[0].shape[:2]
    if not n_stretches:
        names = ("nearest_ratio", "copied_share", "real_copied_share")
        return dict.fromkeys(names), [{} for _ in range(count)]
    uris: list[str] = []

    def training_recordings() -> Iterator[Float32]:
        for recording in read_whole_recordings(dataset, contract.TRAIN):
            uris.append(recording.uri)
            yield recording.log_mel

    nearest = search.find(np.concatenate(stretches), training_recordings())
    generated, real = (half.ravel() for half in nearest.distance.reshape(2, -1))
    real_median = float(np.median(real))
    figures = {
        "nearest_ratio": _ratio(float(np.median(generated)), real_median),
        "copied_share": float(np.mean(generated < _COPY * real_median)),
        "real_copied_share": float(np.mean(real < _COPY * real_median)),
    }
    return figures, [
        _nearest_of_clip(nearest, index * n_stretches, n_stretches, uris) for index in range(count)
    ]


def _nearest_of_clip(nearest: Nearest, first: int, count: int, uris: list[str]) -> dict[str, Any]:
    """Returns the training music that is nearest to any of a clip's stretches."""
    index = first + int(nearest.distance[first : first + count].argmin())
    return {
        "nearest_uri": uris[nearest.recording[index]],
        "nearest_frame": int(nearest.frame[index]),
        "nearest_distance": float(nearest.distance[index]),
    }


def _primer(passage: Passage) -> dict[str, Any]:
    return {
        "recording_id": passage.recording_id,
        "uri": passage.uri,
        "first_frame": passage.first_frame,
    }


def _vocoder_figures(real: Clips) -> dict[str, Any]:
    """Returns what the vocoder alone changes in real music."""
    before = real.frames[:, : real.through_vocoder.shape[1]]
    audible = before > before.max(axis=(1, 2), keepdims=True) - _AUDIBLE_NATS
    change = np.abs(before - real.through_vocoder)[audible].mean() * 10 / np.log(10)
    return {
        "vocoder_movement_ratio": _ratio(
            similarity.movement(real.through_vocoder).mean(), similarity.movement(before).mean()
        ),
        "vocoder_error_db": float(change),
    }


def _share(flags: Iterable[bool]) -> float:
    return float(np.mean(list(flags)))


def _ratio(generated: float, real: float) -> float:
    return float(generated / max(float(real), 1e-9))
