"""Judging a model by what it generates; its next-frame error is told beside it.

The model with the lowest next-frame error drones (docs/lab/experiments.md). The command and
the TFX component both call `evaluate`.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from audio.errors import ConfigMismatchError, UsageError
from generator.inference import Model, load_model
from pipeline.config.sections import EvaluateSettings
from pipeline.evaluation.next_frame_figures import next_frame_figures
from pipeline.evaluation.rollout_figures import measure
from pipeline.evaluation.rollouts import Listening, listen
from pipeline.evaluation.verdict import REPORT, Verdict, judge
from pipeline.spectrograms import comparison_png
from storage import files
from trainer.data.windows import Dataset, open_dataset

_N_PICTURES = 4


def evaluate(
    model_path: str,
    dataset_path: str,
    settings: EvaluateSettings,
    *,
    last_blessed: Mapping[str, Any] | None = None,
    pictures: pathlib.Path | None = None,
) -> Verdict:
    """Judges a model by the eval split of a dataset.

    Args:
      model_path: a folder that the trainer wrote.
      dataset_path: a finished dataset.
      settings: rollouts and limits.
      last_blessed: the verdict on the last blessed model, see read_verdict.
      pictures: a folder for spectrograms of a few rollouts beside real ones; none unless given.

    Raises:
      IncompleteError: the model or the dataset is not whole.
      ConfigMismatchError: they were made with different front ends.
    """
    dataset = open_dataset(dataset_path)
    model = load_model(model_path)
    return evaluate_model(model, dataset, settings, last_blessed=last_blessed, pictures=pictures)


def evaluate_model(
    model: Model,
    dataset: Dataset,
    settings: EvaluateSettings,
    *,
    last_blessed: Mapping[str, Any] | None = None,
    pictures: pathlib.Path | None = None,
) -> Verdict:
    """Judges a loaded model; see evaluate."""
    if model.audio.fingerprint != dataset.audio.fingerprint:
        raise ConfigMismatchError(
            f"the model's front end is {model.audio.fingerprint}, the dataset's is "
            f"{dataset.audio.fingerprint}. Train on this dataset, or evaluate on the model's own: "
            f"{model.info['dataset']['path']}."
        )
    known = {
        "model_id": model.info["model_id"],
        "dataset_id": dataset.info["dataset_id"],
    }
    measured = next_frame_figures(model, dataset)
    if measured["mse"] is None:
        return judge(measured, settings, last_blessed, **known)
    heard = listen(
        model,
        dataset,
        rollouts=settings.rollouts,
        seconds=settings.rollout_seconds,
    )
    found = measure(heard, dataset)
    measured |= dataclasses.asdict(found.figures)
    if pictures is not None:
        _draw(heard, pictures)
    return judge(measured, settings, last_blessed, clips=found.clips, **known)


def read_verdict(path: str) -> dict[str, Any]:
    """Returns the evaluation.json of an earlier evaluation.

    Raises:
      UsageError: it is none.
    """
    try:
        found = json.loads(files.read_text(path))
        found["figures"], found["blessed"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{path}: not an evaluation ({type(error).__name__}). Give the {REPORT} that `nocturne "
            "evaluate --output` or a training pipeline wrote."
        ) from error
    return dict(found)


def find_last_blessed(paths: Iterable[str]) -> dict[str, Any] | None:
    """Returns the last of some evaluations that blessed its model; None where none did.

    Args:
      paths: evaluations, oldest first; those that are not there are passed over.
    """
    for path in reversed(list(paths)):
        if files.exists(path):
            found = read_verdict(path)
            if found["blessed"]:
                return found
    return None


def _draw(heard: Listening, folder: pathlib.Path) -> None:
    """Draws a few rollouts, each after its primer and above how the recording went on."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(heard.primers)
    for index in np.unique(np.linspace(0, count - 1, _N_PICTURES).astype(int)):
        whole = heard.primers[index].log_mel
        start = whole[: len(whole) - len(heard.made.frames[index])]
        made = np.nan_to_num(np.concatenate([start, heard.made.frames[index]]))
        comparison_png(
            folder / f"rollout-{index:02d}.png",
            {"a rollout after the primer (white line)": made, "how the recording went on": whole},
            heard.audio,
            primer_frames=len(start),
        )
