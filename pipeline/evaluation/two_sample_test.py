"""A learned two-sample test: can a small classifier tell clips from real continuations?

References:
  Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler

Float64 = npt.NDArray[np.float64]

_MOST_FOLDS: Final = 5
# Strong regularisation: there are about as many figures as clips.
_INVERSE_PENALTY: Final = 0.1


def classifier_auc(
    clips: Float64, real: Float64, *, clip_recordings: Sequence[str], real_recordings: Sequence[str]
) -> float | None:
    """Returns how well a classifier tells clips from real ones that it has not seen.

    A logistic regression is fitted on all recordings but some, and scores the clips of those; so it
    cannot succeed by knowing a recording again.

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
