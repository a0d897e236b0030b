"""Evaluation of a model: its figures, its verdict, and pictures of some rollouts.

The verdict depends on free-running rollouts. The next-frame error is only reported, because the
model with the lowest error drones (docs/lab/experiments.md). The command `nocturne evaluate` and
the TFX component both call `evaluate`.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from audio import contract, picture
from audio.errors import ConfigMismatchError, UsageError
from generator.inference import Model, load_model
from pipeline.config.sections import EvaluateSettings
from pipeline.evaluation.controls import measure_controls
from pipeline.evaluation.next_frame_figures import next_frame_figures
from pipeline.evaluation.rollout_figures import describe_rollouts, place_rollouts
from pipeline.evaluation.rollouts import RolloutSet, make_rollouts
from pipeline.evaluation.verdict import REPORT, Verdict, is_enough, judge
from storage import files
from storage.dataset_files import read_recordings
from storage.faults import find_fault
from trainer.data.windows import Dataset, open_dataset

# Number of rollouts that are drawn.
_N_PICTURES = 4


def evaluate(
    model_path: str,
    dataset_path: str,
    settings: EvaluateSettings,
    *,
    last_blessed: Mapping[str, Any] | None = None,
    pictures: pathlib.Path | None = None,
) -> Verdict:
    """Evaluates a model on the held-out recordings of a dataset.

    Args:
      model_path: Folder that the trainer wrote.
      dataset_path: Folder of a finished dataset.
      settings: Number and length of the rollouts, and the limits.
      last_blessed: Content of the evaluation.json of the last blessed model, see read_verdict.
      pictures: Folder for spectrograms of some rollouts and of the recordings that they continue.
        Without it, nothing is drawn.

    Raises:
      IncompleteError: The model or the dataset is not complete.
      ConfigMismatchError: Model and dataset have different front ends.
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
    """Evaluates a model that is loaded already; see evaluate."""
    if model.audio.fingerprint != dataset.audio.fingerprint:
        raise ConfigMismatchError(
            f"the model's front end is {model.audio.fingerprint}, the dataset's is "
            f"{dataset.audio.fingerprint}. Train on this dataset, or evaluate on the model's own: "
            f"{model.info['dataset']['path']}."
        )
    ids = {
        "model_id": model.info["model_id"],
        "dataset_id": dataset.info["dataset_id"],
    }
    eval_rows = list(read_recordings(dataset.path, contract.EVAL))
    figures: dict[str, Any] = {
        "held_out": {
            "recordings": len(eval_rows),
            "seconds": sum(row["duration_seconds"] for row in eval_rows),
        },
        **next_frame_figures(model, dataset),
    }
    if figures["mse"] is None:
        return judge(figures, settings, last_blessed, **ids)
    rollout_set = make_rollouts(
        model,
        dataset,
        rollouts=settings.rollouts,
        seconds=settings.rollout_seconds,
    )
    described, clips = describe_rollouts(rollout_set, dataset)
    figures |= described
    if is_enough(figures["held_out"]):  # controls are dear, and could change no verdict otherwise
        controls = measure_controls(model, dataset, rollout_set)
        figures |= place_rollouts(rollout_set, controls.clips)
        figures["untrained_nll"] = controls.untrained_nll
    if pictures is not None:
        _draw(rollout_set, pictures)
    return judge(figures, settings, last_blessed, clips=clips, **ids)


def read_verdict(path: str) -> dict[str, Any]:
    """Returns the content of an evaluation.json.

    Raises:
      UsageError: The file cannot be read or is not an evaluation.
    """
    try:
        verdict = files.read_json(path)
        verdict["figures"], verdict["blessed"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        fault = find_fault(error)
        if fault is not None:
            raise fault from error
        raise UsageError(
            f"{path}: not an evaluation ({type(error).__name__}). Give the {REPORT} that `nocturne "
            "evaluate --output` or a training pipeline wrote."
        ) from error
    return dict(verdict)


def find_last_blessed(paths: Iterable[str]) -> dict[str, Any] | None:
    """Returns the newest verdict that blessed its model, or None if there is none.

    Args:
      paths: Paths of evaluation.json files, oldest first. Files that do not exist are ignored.
    """
    for path in reversed(list(paths)):
        if files.exists(path):
            verdict = read_verdict(path)
            if verdict["blessed"]:
                return verdict
    return None


def _draw(rollout_set: RolloutSet, folder: pathlib.Path) -> None:
    """Draws some rollouts after their primers, each above the recording that it continues."""
    folder.mkdir(parents=True, exist_ok=True)
    count, audio = len(rollout_set.primers), rollout_set.audio
    for index in np.unique(np.linspace(0, count - 1, _N_PICTURES).astype(int)):
        recording = rollout_set.primers[index].log_mel
        rollout = rollout_set.rollouts.frames[index]
        primer = recording[: len(recording) - len(rollout)]
        clips = {
            "a rollout after the primer (white line)": np.nan_to_num(
                np.concatenate([primer, rollout])
            ),
            "the recording itself": recording,
        }
        figure, rows = picture.new_figure(9.0, 2.4 * len(clips), rows=len(clips))
        for axes, (title, log_mel) in zip(rows, clips.items(), strict=True):
            picture.draw_spectrogram(axes, [log_mel], audio, title=title)
            axes.axvline(len(primer) / audio.frames_per_second, color="white", linewidth=1)
        rows[-1].set_xlabel("seconds")
        figure.savefig(folder / f"rollout-{index:02d}.png", format="png")
