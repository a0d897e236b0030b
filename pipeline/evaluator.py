"""Judging a model: next-frame error against repeating the last frame, and a free-running look."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import tensorflow as tf

from audio import contract
from audio.errors import ConfigMismatchError
from audio.quality import figures
from generator.health import examine
from generator.inference import Model, load_model, roll_out
from generator.requests import derive_seed
from pipeline.configs import EvaluateSettings
from trainer.dataset import Dataset, eval_windows, has_windows, open_dataset

REPORT = "evaluation.json"
# A frozen rollout is no reason against an mse model: all of them freeze or drone sooner or later.
_FAULTS = frozenset({"silent", "diverged", "not_finite"})


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
    measured = {
        **_next_frame_error(model, dataset),
        **_free_running(model, settings),
    }
    return judge(measured, settings)


def judge(measured: dict[str, Any], settings: EvaluateSettings) -> Verdict:
    """Holds measured figures against the settings' limits."""
    checks = []
    if measured["mse"] is None:
        checks.append((False, "no recording is held out: add recordings, so that eval has one"))
    else:
        ratio = measured["mse_ratio"]
        checks.append(
            (
                ratio < settings.max_mse_ratio,
                f"next-frame error is {ratio:.3f} of repeating the last frame "
                f"(wanted below {settings.max_mse_ratio:g})",
            )
        )
    share = measured["faulty_share"]
    checks.append(
        (
            share <= settings.max_faulty_share,
            f"{share:.0%} of {measured['rollouts']} rollouts are silent, diverged or not finite "
            f"(at most {settings.max_faulty_share:.0%})",
        )
    )
    return Verdict(
        blessed=all(ok for ok, _ in checks),
        reasons=tuple(f"{'pass' if ok else 'FAIL'}: {text}" for ok, text in checks),
        figures=measured,
    )


def _next_frame_error(model: Model, dataset: Dataset) -> dict[str, float | None]:
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


def _free_running(model: Model, settings: EvaluateSettings) -> dict[str, Any]:
    """Rolls out after the model's primers; movement is compared with the primers' own."""
    chosen = np.resize(np.arange(len(model.primers)), settings.rollouts)
    frames = roll_out(
        model,
        model.primers[chosen],
        seeds=[derive_seed(0, index) for index in range(settings.rollouts)],
        n_frames=model.audio.frames_for(settings.rollout_seconds),
        temperature=settings.temperature,
    )
    found = [examine(clip, model.audio) for clip in frames]
    faulty = [bool(_FAULTS & set(one["faults"])) for one in found]
    real = np.mean([figures(primer, model.audio).flux for primer in model.primers])
    moved = np.mean([one["flux"] for one in found if "flux" in one] or [0.0])
    return {
        "rollouts": settings.rollouts,
        "faulty_share": float(np.mean(faulty)),
        "frozen_share": float(np.mean(["frozen" in one["faults"] for one in found])),
        "flux_ratio": float(moved / max(real, 1e-9)),
    }
