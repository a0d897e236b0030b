"""Judging a model by what it generates; its next-frame error is told beside it.

The lowest next-frame error is that of a model which drones (docs/experiments.md).
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import tensorflow as tf

from audio import contract
from audio.errors import ConfigMismatchError
from generator.inference import Model, load_model
from pipeline.configs import EvaluateSettings
from pipeline.free_running import free_running
from trainer.dataset import Dataset, eval_windows, has_windows, open_dataset

REPORT = "evaluation.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a model may be used, and why.

    Attributes:
      blessed: whether it passed.
      reasons: one line for every check, starting with `pass` or `FAIL`.
      figures: what was measured.
    """

    blessed: bool
    reasons: tuple[str, ...]
    figures: dict[str, Any]

    def to_json(self) -> str:
        """Returns the verdict as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"


def evaluate(model_path: str, dataset_path: str, settings: EvaluateSettings) -> Verdict:
    """Judges a model by the eval split of a dataset.

    Raises:
      IncompleteError: the model or the dataset is not whole.
      ConfigMismatchError: they were made with different front ends.
    """
    dataset = open_dataset(dataset_path)
    model = load_model(model_path)
    if model.audio.fingerprint != dataset.audio.fingerprint:
        raise ConfigMismatchError(
            f"the model's front end is {model.audio.fingerprint}, the dataset's is "
            f"{dataset.audio.fingerprint}. Train on this dataset, or evaluate on the model's own: "
            f"{model.info['dataset']['path']}."
        )
    measured = _next_frame_error(model, dataset)
    if measured["mse"] is not None:
        found = free_running(
            model,
            dataset,
            rollouts=settings.rollouts,
            seconds=settings.rollout_seconds,
            temperature=settings.temperature,
        )
        measured |= dataclasses.asdict(found)
    return judge(measured, settings)


def judge(measured: dict[str, Any], settings: EvaluateSettings) -> Verdict:
    """Holds measured figures against the settings' limits."""
    if measured["mse"] is None:
        reason = (
            "FAIL: no recording is held out that is as long as a window of training: add "
            "recordings, so that eval has one"
        )
        return Verdict(blessed=False, reasons=(reason,), figures=measured)
    share = measured["faulty_share"]
    checks = [
        (
            share <= settings.max_faulty_share,
            f"{share:.0%} of {measured['rollouts']} rollouts are silent, frozen, looping, diverged "
            f"or not finite (at most {settings.max_faulty_share:.0%})",
        )
    ]
    for name, text in (("movement", "movement"), ("variance", "variance over time")):
        ratio = measured[f"{name}_ratio"]
        checks.append(
            (
                settings.min_ratio <= ratio <= settings.max_ratio,
                f"{text} is {ratio:.2f} of that of real recordings (wanted "
                f"{settings.min_ratio:g} to {settings.max_ratio:g})",
            )
        )
    distance = measured["kernel_distance"]
    checks.append(
        (
            distance <= settings.max_kernel_distance,
            f"distance from real recordings is {distance:.0f}, where other real ones have "
            f"{measured['real_kernel_distance']:.0f} (at most {settings.max_kernel_distance:g})",
        )
    )
    return Verdict(
        blessed=all(ok for ok, _ in checks),
        reasons=tuple(f"{'pass' if ok else 'FAIL'}: {text}" for ok, text in checks),
        figures=measured,
    )


def _next_frame_error(model: Model, dataset: Dataset) -> dict[str, Any]:
    train = model.info["train"]
    n_frames = model.info["anchor_frames"] + train["window_frames"]
    if not has_windows(dataset, contract.EVAL, n_frames):
        return {"mse": None, "repeat_last_mse": None, "mse_ratio": None}
    totals, count = np.zeros(2), 0
    for batch in eval_windows(
        dataset,
        split=contract.EVAL,
        window_frames=n_frames,
        batch_windows=train["batch_windows"],
    ):
        scores = model.signatures[contract.SCORE](log_mel=batch)
        totals += [float(tf.reduce_sum(scores[name])) for name in ("mse", "repeat_last_mse")]
        count += len(batch)
    mse, repeat = totals / count
    return {"mse": mse, "repeat_last_mse": repeat, "mse_ratio": mse / repeat}
