"""What a model makes when it hears only itself, held against how real recordings went on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from audio import contract
from generator.inference import Model
from pipeline.evaluation import memorization, similarity
from pipeline.evaluation.faults import DEAD, DIVERGED, DRONE, FADING, LOOP, Utmost
from pipeline.evaluation.memorization import Nearest, NearestStretch
from pipeline.evaluation.passages import Passage, read_recordings
from pipeline.evaluation.rollouts import Clips, Listening, listen
from trainer.data.windows import Dataset

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Interval = tuple[float, float]

# Of the kernel distance: what is below it cannot be told from nothing with some dozen clips.
_LEAST_DISTANCE = 15.0
# Real recordings that hardly change their level would make any drift a large one, dB.
_LEAST_DRIFT_DB = 1.0
# A stretch that is nearer to the training music than this share of what is usual is a copy.
_COPY = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class FreeRunning:
    """Figures of free-running rollouts; ratios are of the real continuations' means.

    Both sides went through the vocoder. Intervals hold the middle 90% of a bootstrap over clips.

    Attributes:
      rollouts: how many were made.
      seconds: length of each.
      faulty_share: of them that have any of the faults of pipeline/evaluation/faults.py.
      dead_share, drone_share, loop_share, diverged_share, fading_share: of them that have each.
      real_faulty_share: of other passages of the same recordings, found at fault by the same rules.
      movement_ratio: see pipeline.evaluation.similarity.movement.
      movement_interval: of it.
      variance_ratio: see pipeline.evaluation.similarity.variance.
      variance_interval: of it.
      rhythm_ratio: see pipeline.evaluation.similarity.rhythm.
      rhythm_interval: of it.
      attack_ratio: see pipeline.evaluation.similarity.attack; what is played backwards has -1.
      attack_interval: of it.
      drift_db: mean magnitude of pipeline.evaluation.similarity.drift.
      real_drift_db: the same of the real continuations.
      drift_ratio: of the two; real drift counts as 1 dB at least.
      kernel_distance: from the real continuations, see similarity.KernelDistance.
      kernel_interval: of it.
      same_kernel_distance: of other passages of the same recordings: about 0.
      real_kernel_distance: of passages of training recordings from the same: other real music of
        the same collection.
      real_kernel_interval: of it.
      kernel_ratio: kernel_distance of real_kernel_distance, which counts as 15 at least.
      kernel_ratio_interval: of it, with the real one as it is.
      diversity_ratio: how unlike two rollouts of one primer are, of how unlike two passages of one
        recording are (pipeline.evaluation.memorization.apart).
      nearest_ratio: median distance of a stretch to the nearest in the training recordings, of that
        of held-out real stretches (pipeline.evaluation.memorization.NearestStretch).
      copied_share: of stretches, nearer than half the median real one.
      real_copied_share: of held-out real stretches: pieces of a collection may quote each other.
      vocoder_kernel_distance: same_kernel_distance again, of the same passages before the vocoder:
        what it adds or takes.
      vocoder_movement_ratio: movement after the vocoder, of that before.
      vocoder_error_db: mean magnitude of the change of log-mel by the vocoder, of cells within 70
        dB of a clip's loudest.
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
class Judged:
    """Figures, and what is known of each rollout.

    Attributes:
      figures: of all of them.
      clips: one a rollout: its primer, seed and faults, and the training music that is nearest.
    """

    figures: FreeRunning
    clips: tuple[dict[str, Any], ...]


def measure_model(
    model: Model, dataset: Dataset, *, rollouts: int, seconds: float, temperature: float | None
) -> FreeRunning:
    """Rolls out after primers of the eval split, and measures; see listen and measure."""
    heard = listen(model, dataset, rollouts=rollouts, seconds=seconds, temperature=temperature)
    return measure(heard, dataset).figures


def measure(heard: Listening, dataset: Dataset) -> Judged:
    """Returns what there is to say about rollouts.

    Args:
      heard: the rollouts, and what they are held against.
      dataset: whose training split copies are looked for in.
    """
    audio, made, real = heard.audio, heard.made, heard.real
    weights = similarity.resamples(len(made.heard), np.random.default_rng(0))
    real_drift = float(np.abs(similarity.drift(real.heard, audio)).mean())
    drift = float(np.abs(similarity.drift(made.heard, audio)).mean())
    faults, real_faults = _faults(heard)
    copies, clips = _copies(heard, dataset)
    figures = FreeRunning(
        rollouts=len(made.heard),
        seconds=round(made.frames.shape[1] / audio.frames_per_second, 2),
        faulty_share=_share(map(bool, faults)),
        dead_share=_share(DEAD in each for each in faults),
        drone_share=_share(DRONE in each for each in faults),
        loop_share=_share(LOOP in each for each in faults),
        diverged_share=_share(DIVERGED in each for each in faults),
        fading_share=_share(FADING in each for each in faults),
        real_faulty_share=_share(map(bool, real_faults)),
        drift_db=drift,
        real_drift_db=real_drift,
        drift_ratio=drift / max(real_drift, _LEAST_DRIFT_DB),
        **_ratios(heard, weights),
        **_distances(heard, weights),
        **copies,
        **_vocoder(real),
    )
    return Judged(
        figures=figures,
        clips=tuple(
            {**_primer(passage), "seed": seed, "faults": list(found), **clip}
            for passage, seed, found, clip in zip(
                heard.primers, heard.seeds, faults, clips, strict=True
            )
        ),
    )


def _ratios(heard: Listening, weights: Float64) -> dict[str, Any]:
    figures: dict[str, Callable[[Float32], Float64]] = {
        "movement": similarity.movement,
        "variance": similarity.variance,
        "rhythm": lambda clips: similarity.rhythm(clips, heard.audio),
        "attack": similarity.attack,
    }
    found: dict[str, Any] = {}
    for name, figure in figures.items():
        ours, real = figure(heard.made.heard), figure(heard.real.heard)
        found[f"{name}_ratio"] = _ratio(ours.mean(), real.mean())
        draws = (weights @ ours) / np.maximum(weights @ real, 1e-9)
        found[f"{name}_interval"] = similarity.interval(draws)
    return found


def _distances(heard: Listening, weights: Float64) -> dict[str, Any]:
    """Returns the kernel distances, and how unlike rollouts of one primer are."""

    def features(clips: Clips) -> Float64:
        return similarity.statistics(clips.heard, heard.audio)

    real = features(heard.real)
    per_clip = len(real) // len(heard.real.heard)
    distance = similarity.KernelDistance(real, per_clip=per_clip)

    def pieces(clips: Clips) -> Float64:
        return distance.standardised(features(clips)).reshape(len(clips.heard), per_clip, -1)

    ours, others = features(heard.made), features(heard.others)
    draws = distance.draws(ours, weights)
    other_weights = similarity.resamples(len(heard.others.heard), np.random.default_rng(1))
    other = max(distance(others), _LEAST_DISTANCE)
    neighbours = heard.neighbours
    raw = similarity.statistics(neighbours.frames[:, : neighbours.heard.shape[1]], heard.audio)
    return {
        "kernel_distance": distance(ours),
        "kernel_interval": similarity.interval(draws),
        "same_kernel_distance": distance(features(neighbours)),
        "real_kernel_distance": distance(others),
        "real_kernel_interval": similarity.interval(distance.draws(others, other_weights)),
        "kernel_ratio": distance(ours) / other,
        "kernel_ratio_interval": similarity.interval(draws / other),
        "diversity_ratio": _ratio(
            memorization.apart(pieces(heard.made)[list(heard.again_of)], pieces(heard.again)),
            memorization.apart(pieces(heard.real), pieces(heard.neighbours)),
        ),
        "vocoder_kernel_distance": distance(raw),
    }


def _faults(heard: Listening) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Returns the faults of the rollouts, and of other real passages by the same rules."""
    utmost = Utmost(np.concatenate([heard.real.heard, heard.others.heard]), heard.audio)
    made, neighbours = (
        [utmost.faults(*clip) for clip in zip(one.frames, one.heard, strict=True)]
        for one in (heard.made, heard.neighbours)
    )
    return made, neighbours


def _copies(heard: Listening, dataset: Dataset) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Looks for each stretch of the rollouts in the training recordings."""
    search = NearestStretch(np.concatenate(list(heard.others.frames)), heard.audio)
    finite = np.nan_to_num(heard.made.frames, nan=0.0)
    cut = [search.cut(each) for each in (finite, heard.real.frames)]
    count, n_stretches = cut[0].shape[:2]
    if not n_stretches:
        names = ("nearest_ratio", "copied_share", "real_copied_share")
        return dict.fromkeys(names), [{} for _ in range(count)]
    uris: list[str] = []

    def music() -> Iterator[Float32]:
        for one in read_recordings(dataset, contract.TRAIN):
            uris.append(one.uri)
            yield one.log_mel

    both = search.find(np.concatenate(cut), music())
    ours, real = (each.ravel() for each in both.distance.reshape(2, -1))
    usual = float(np.median(real))
    figures = {
        "nearest_ratio": _ratio(float(np.median(ours)), usual),
        "copied_share": float(np.mean(ours < _COPY * usual)),
        "real_copied_share": float(np.mean(real < _COPY * usual)),
    }
    return figures, [_nearest(both, i * n_stretches, n_stretches, uris) for i in range(count)]


def _nearest(both: Nearest, first: int, count: int, uris: list[str]) -> dict[str, Any]:
    """Returns the training music that any of a clip's stretches is nearest to."""
    at = first + int(both.distance[first : first + count].argmin())
    return {
        "nearest_uri": uris[both.recording[at]],
        "nearest_frame": int(both.frame[at]),
        "nearest_distance": float(both.distance[at]),
    }


def _primer(passage: Passage) -> dict[str, Any]:
    return {
        "recording_id": passage.recording_id,
        "uri": passage.uri,
        "first_frame": passage.first_frame,
    }


def _vocoder(real: Clips) -> dict[str, Any]:
    """Returns what the vocoder alone does to real music."""
    raw = real.frames[:, : real.heard.shape[1]]
    audible = raw > raw.max(axis=(1, 2), keepdims=True) - 7 * np.log(10)
    change = np.abs(raw - real.heard)[audible].mean() * 10 / np.log(10)
    return {
        "vocoder_movement_ratio": _ratio(
            similarity.movement(real.heard).mean(), similarity.movement(raw).mean()
        ),
        "vocoder_error_db": float(change),
    }


def _share(found: Any) -> float:
    return float(np.mean(list(found)))


def _ratio(ours: float, real: float) -> float:
    return float(ours / max(float(real), 1e-9))
