"""The scale with two ends: where a model stands between controls and real music.

Every evaluation measures real music and several controls: sounds that are surely no music, or that
any weights would make. In each figure a model is then placed between a control and real music:

    control                             real music
        0 ----------- model -------------- 1

Real music is not one point. Held-out recordings and training recordings differ, and whatever lies
between their means counts as real:

    distance(set)  = how far the mean of a set is outside the range of the means of the real sets
    place(model)   = 1 - distance(model) / distance(control), at least -1

A figure is used against a control only if it tells this control from real music on this collection.
So no figure is ever divided by a number near zero, and a model gains nothing from a figure in which
a control is as good as real music. The score against a control is the mean of these places.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler

Float64 = npt.NDArray[np.float64]

# A figure tells a control from real music if it puts a clip of the one and a clip of the other in
# the right order at least this often (area under the ROC curve).
TELLS_APART: Final = 0.75
N_DRAWS: Final = 400
# Folds of the classifier, at most.
_MOST_FOLDS = 5
# Strong regularisation: there are about as many figures as clips.
_INVERSE_PENALTY = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurements:
    """One figure of the clips of one set.

    Attributes:
      values: One value a clip, [n_clips].
      recordings: For each clip, the id of the recording that it is cut from, or continues.
    """

    values: Float64
    recordings: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where a model stands in one figure between one control and real music.

    Attributes:
      place: 0 at the control, 1 at real music, at least -1.
      draws: The place in each bootstrap draw of recordings, [n_draws].
    """

    place: float
    draws: Float64


@dataclasses.dataclass(frozen=True, kw_only=True)
class FigureScale:
    """One figure of a model, of real music and of every control.

    Attributes:
      real: Mean of the held-out continuations.
      real_range: Lowest and highest mean of the real sets.
      model: Mean of the model's rollouts.
      controls: Mean of every control.
      places: The model's place against each control that the figure tells from real music.
    """

    real: float
    real_range: tuple[float, float]
    model: float
    controls: dict[str, float]
    places: dict[str, Place]

    @property
    def best_control(self) -> str | None:
        """The control nearest to real music of those that the figure tells from it, if any."""
        if not self.places:
            return None
        return min(self.places, key=lambda name: _outside(self.controls[name], self.real_range))


def scale_figure(
    *,
    model: Measurements,
    real: Sequence[Measurements],
    controls: Mapping[str, Measurements],
    tolerance: float,
    draws: Sequence[Mapping[str, float]] = (),
) -> FigureScale:
    """Places a model between every control and real music in one figure.

    Args:
      model: The figure of the model's rollouts.
      real: The figure of the real sets; the first is of the held-out continuations.
      controls: The figure of every control, by its name.
      tolerance: A control whose mean is no further than this outside the real range is not told
        from real music.
      draws: Bootstrap draws, see draw_recordings.
    """
    means = [float(each.values.mean()) for each in real]
    real_range = (min(means), max(means))
    places = {}
    for name, control in controls.items():
        distance = _outside(float(control.values.mean()), real_range)
        if distance <= tolerance or any(_auc(control, each) < TELLS_APART for each in real):
            continue
        places[name] = Place(
            place=_place(_outside(float(model.values.mean()), real_range), distance),
            draws=np.array([_draw_place(model, real, control, weights) for weights in draws]),
        )
    return FigureScale(
        real=means[0],
        real_range=real_range,
        model=float(model.values.mean()),
        controls={name: float(each.values.mean()) for name, each in controls.items()},
        places=places,
    )


def draw_recordings(
    sets: Sequence[Measurements], rng: np.random.Generator, *, n_draws: int = N_DRAWS
) -> list[dict[str, float]]:
    """Returns bootstrap draws: for each, how often every recording is drawn, with replacement.

    Recordings are drawn, and not clips, because clips of one recording are alike.

    References:
      Efron and Tibshirani, "An introduction to the bootstrap", 1993.
    """
    # Each set is drawn within itself, so that no draw leaves one without recordings.
    groups = dict.fromkeys(tuple(sorted(set(each.recordings))) for each in sets)
    drawn: list[dict[str, float]] = [{} for _ in range(n_draws)]
    for recordings in groups:
        share = np.full(len(recordings), 1 / len(recordings))
        for weights, counts in zip(
            drawn, rng.multinomial(len(recordings), share, size=n_draws), strict=True
        ):
            weights.update(zip(recordings, map(float, counts), strict=True))
    return drawn


def _draw_place(
    model: Measurements,
    real: Sequence[Measurements],
    control: Measurements,
    weights: Mapping[str, float],
) -> float:
    means = [_weighted_mean(each, weights) for each in real]
    real_range = (min(means), max(means))
    return _place(
        _outside(_weighted_mean(model, weights), real_range),
        _outside(_weighted_mean(control, weights), real_range),
    )


def _place(model_distance: float, control_distance: float) -> float:
    if model_distance == 0:
        return 1.0
    # In a bootstrap draw a control may fall inside the real range: the model is then no better.
    return max(-1.0, 1 - model_distance / control_distance) if control_distance > 0 else -1.0


def _outside(mean: float, real_range: tuple[float, float]) -> float:
    """Returns how far a mean is outside of a range; 0 within it."""
    return max(real_range[0] - mean, mean - real_range[1], 0.0)


def _weighted_mean(measurements: Measurements, weights: Mapping[str, float]) -> float:
    """Returns the mean over clips, each counted as often as its recording was drawn."""
    counts = np.array([weights[key] for key in measurements.recordings])
    total = counts.sum()
    values = measurements.values
    return float(counts @ values / total) if total else float(values.mean())


def _auc(control: Measurements, real: Measurements) -> float:
    """Returns the area under the ROC curve in the better of the two directions, 0.5 to 1."""
    labels = np.r_[np.zeros(len(control.values)), np.ones(len(real.values))]
    area = float(roc_auc_score(labels, np.r_[control.values, real.values]))
    return max(area, 1 - area)


def classifier_auc(
    clips: Float64, real: Float64, *, clip_recordings: Sequence[str], real_recordings: Sequence[str]
) -> float | None:
    """Returns how well a classifier tells clips from real ones that it has not seen.

    A logistic regression is fitted on all recordings but some, and scores the clips of those; so it
    cannot succeed by knowing a recording again. This is a learned two-sample test (Lopez-Paz and
    Oquab, "Revisiting classifier two-sample tests", 2017).

    Args:
      clips: Figures of clips, [n_clips, n_figures].
      real: Figures of real continuations, [n_real, n_figures].
      clip_recordings: The recording that each clip continues.
      real_recordings: The recording that each real clip is of.

    Returns:
      The area under the ROC curve, 0.5 if they cannot be told apart, 1 if always; None if fewer
      than two recordings are there to cross-fit over.
    """
    features = np.concatenate([clips, real])
    labels = np.r_[np.ones(len(clips)), np.zeros(len(real))]
    groups = np.array([*clip_recordings, *real_recordings])
    folds = min(_MOST_FOLDS, len(set(real_recordings)))
    if folds < 2:
        return None
    pairs, areas = [], []
    for fit, held_out in GroupKFold(n_splits=folds).split(features, labels, groups):
        n_clips = int(labels[held_out].sum())
        n_real = len(held_out) - n_clips
        if len(set(labels[fit])) < 2 or not n_clips or not n_real:
            continue
        model = make_pipeline(
            RobustScaler(),
            LogisticRegression(
                C=_INVERSE_PENALTY, class_weight="balanced", solver="liblinear", random_state=0
            ),
        )
        model.fit(features[fit], labels[fit])
        # Scores of different folds share no scale, so ranks are compared within a fold.
        areas.append(roc_auc_score(labels[held_out], model.decision_function(features[held_out])))
        pairs.append(n_clips * n_real)
    return float(np.average(areas, weights=pairs)) if areas else None
