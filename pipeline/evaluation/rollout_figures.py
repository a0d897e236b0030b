"""Figures of rollouts, placed between controls and real music."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from audio import contract
from pipeline.evaluation import similarity
from pipeline.evaluation.faults import FAULTS, FaultLimits
from pipeline.evaluation.figure_table import FIGURES
from pipeline.evaluation.memorization import Nearest, NearestStretch, longest_copy, mean_distance
from pipeline.evaluation.rollouts import Clips, RolloutSet
from pipeline.evaluation.scale import (
    TELLS_APART,
    FigureScale,
    Measurements,
    classifier_auc,
    draw_recordings,
    scale_figure,
)
from trainer.data.passages import Passage, read_whole_recordings
from trainer.data.windows import Dataset

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# A stretch is a copy if its distance from the training music is below this share of the median
# distance of held-out real stretches.
_COPY = 0.5
# The classifier must tell a control better than it tells real music by this much.
_AUC_TOLERANCE = 0.1
# Cells of a clip within this much of its loudest one count as audible, nats: 70 dB.
_AUDIBLE_NATS = 7 * np.log(10)


def place_rollouts(rollout_set: RolloutSet, controls: Mapping[str, Clips]) -> dict[str, Any]:
    """Returns where the rollouts stand between each control and real music.

    Returns:
      scale: For each figure of musical_figures.FIGURES its means (real, real_range, model and
        controls), the best control that it tells from real music, and the model's place and
        interval against that one; these are None if the figure tells no control.
      classifier: Area under the ROC curve of the two-sample test for the model, the controls and
        real music (the larger of other passages of the same recordings and training passages).
      scores: For each control its score and interval, and the figures that tell it from real
        music with the model's place in each.
    """
    real = (
        rollout_set.continuations,
        rollout_set.training_passages,
        rollout_set.same_recording,
    )
    draws = draw_recordings([_measurements(clips, 0) for clips in real], np.random.default_rng(0))
    scales = {
        name: scale_figure(
            model=_measurements(rollout_set.rollouts, index),
            real=[_measurements(clips, index) for clips in real],
            controls={key: _measurements(clips, index) for key, clips in controls.items()},
            tolerance=figure.tolerance,
            draws=draws,
        )
        for index, (name, figure) in enumerate(FIGURES.items())
    }
    classifier = _classify(rollout_set, controls)
    return {
        "scale": {name: _row(scale) for name, scale in scales.items()},
        "classifier": classifier,
        "scores": {name: _score(scales, classifier, name) for name in controls},
    }


def _measurements(clips: Clips, index: int) -> Measurements:
    return Measurements(values=clips.figures[:, index], recordings=clips.recordings)


def _row(scale: FigureScale) -> dict[str, Any]:
    """Returns a figure's means, and the model's place against the best control."""
    best = scale.best_control
    place = scale.places[best] if best else None
    return {
        "real": scale.real,
        "real_range": scale.real_range,
        "model": scale.model,
        "controls": scale.controls,
        "best_control": best,
        "place": place.place if place else None,
        "interval": similarity.middle_90_percent(place.draws) if place else None,
    }


def _classify(rollout_set: RolloutSet, controls: Mapping[str, Clips]) -> dict[str, Any]:
    """Returns how well a classifier tells each set from the held-out continuations."""
    real = rollout_set.continuations

    def auc(clips: Clips) -> float | None:
        return classifier_auc(
            clips.figures,
            real.figures,
            clip_recordings=clips.recordings,
            real_recordings=real.recordings,
        )

    references = [auc(rollout_set.same_recording), auc(rollout_set.training_passages)]
    return {
        "model": auc(rollout_set.rollouts),
        "real": max([0.5, *(value for value in references if value is not None)]),
        "controls": {name: auc(clips) for name, clips in controls.items()},
    }


def _classifier_place(classifier: Mapping[str, Any], control: str) -> float | None:
    """Returns the model's place in the two-sample test; None if it does not tell the control."""
    model, real, own = classifier["model"], classifier["real"], classifier["controls"][control]
    if model is None or own is None or own < max(TELLS_APART, real + _AUC_TOLERANCE):
        return None
    return float(max(-1.0, 1 - max(0.0, model - real) / (own - real)))


def _score(
    scales: Mapping[str, FigureScale], classifier: Mapping[str, Any], control: str
) -> dict[str, Any]:
    """Returns the mean place against one control, with its interval and what it consists of."""
    places = {
        figure: scale.places[control] for figure, scale in scales.items() if control in scale.places
    }
    classifier_place = _classifier_place(classifier, control)
    values = {name: place.place for name, place in places.items()}
    draws = [place.draws for place in places.values()]
    if classifier_place is not None:
        values["classifier"] = classifier_place
        draws.append(np.full(len(draws[0]) if draws else 1, classifier_place))
    if not values:
        return {"score": None, "interval": None, "figures": {}}
    return {
        "score": float(np.mean(list(values.values()))),
        "interval": similarity.middle_90_percent(np.mean(draws, axis=0)),
        "figures": values,
    }


def describe_rollouts(
    rollout_set: RolloutSet, dataset: Dataset
) -> tuple[dict[str, Any], tuple[dict[str, Any], ...]]:
    """Returns figures that need no controls, and what is known of each rollout.

    Returns:
      The figures: number and length of the rollouts; faulty_share, real_faulty_share and the share
      of each fault; kernel_distance from the real continuations and that of training passages;
      difference of two rollouts of one primer and of two passages of one recording; the copies
      (nearest_distance, real_nearest_distance, copied_share, real_copied_share and
      longest_copy_seconds, None if clips are too short); and vocoder_error_db, which is the mean
      change of log-mel by the vocoder over cells within 70 dB of a clip's loudest.
      One dict a rollout: its primer, seed and faults, and the nearest training music.
    """
    rollouts, real = rollout_set.rollouts, rollout_set.continuations
    faults, real_faults = _faults(rollout_set)
    copies, nearest = _copies(rollout_set, dataset)
    figures = {
        "rollouts": len(rollouts.frames),
        "seconds": round(rollouts.frames.shape[1] / rollout_set.audio.frames_per_second, 2),
        "faulty_share": _share(map(bool, faults)),
        **{f"{name}_share": _share(name in names for names in faults) for name in FAULTS},
        "real_faulty_share": _share(map(bool, real_faults)),
        **_distances(rollout_set),
        **copies,
        "vocoder_error_db": _vocoder_error_db(real),
    }
    clips = tuple(
        {**_primer(passage), "seed": seed, "faults": list(names), **nearest_stretch}
        for passage, seed, names, nearest_stretch in zip(
            rollout_set.primers, rollout_set.seeds, faults, nearest, strict=True
        )
    )
    return figures, clips


def _distances(rollout_set: RolloutSet) -> dict[str, Any]:
    """Returns the kernel distances, and how much rollouts of one primer differ."""

    def features(clips: Clips) -> Float64:
        return similarity.segment_statistics(clips.through_vocoder, rollout_set.audio)

    real = features(rollout_set.continuations)
    per_clip = len(real) // len(rollout_set.continuations.frames)
    distance = similarity.KernelDistance(real, per_clip=per_clip)

    def segments(clips: Clips) -> Float64:
        return distance.standardise(features(clips)).reshape(len(clips.frames), per_clip, -1)

    twice = list(rollout_set.second_seed_of)
    return {
        "kernel_distance": distance(features(rollout_set.rollouts)),
        "real_kernel_distance": distance(features(rollout_set.training_passages)),
        "difference": mean_distance(
            segments(rollout_set.rollouts)[twice], segments(rollout_set.second_seed)
        ),
        "real_difference": mean_distance(
            segments(rollout_set.continuations), segments(rollout_set.same_recording)
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
        names = ("nearest_distance", "real_nearest_distance", "copied_share", "real_copied_share",
                 "longest_copy_seconds")  # fmt: skip
        return dict.fromkeys(names), [{} for _ in range(count)]
    uris: list[str] = []

    def training_recordings() -> Iterator[Float32]:
        for recording in read_whole_recordings(dataset, contract.TRAIN):
            uris.append(recording.uri)
            yield recording.log_mel

    nearest = search.find(np.concatenate(stretches), training_recordings())
    generated, real = (half.ravel() for half in nearest.distance.reshape(2, -1))
    usual = float(np.median(real))
    longest = longest_copy(nearest, n_stretches, below=_COPY * usual, n_frames=search.n_frames)
    figures = {
        "nearest_distance": float(np.median(generated)),
        "real_nearest_distance": usual,
        "copied_share": float(np.mean(generated < _COPY * usual)),
        "real_copied_share": float(np.mean(real < _COPY * usual)),
        "longest_copy_seconds": float(longest[:count].max() / rollout_set.audio.frames_per_second),
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


def _vocoder_error_db(real: Clips) -> float:
    before = real.frames[:, : real.through_vocoder.shape[1]]
    audible = before > before.max(axis=(1, 2), keepdims=True) - _AUDIBLE_NATS
    return float(np.abs(before - real.through_vocoder)[audible].mean() * 10 / np.log(10))


def _share(flags: Iterable[bool]) -> float:
    return float(np.mean(list(flags)))
