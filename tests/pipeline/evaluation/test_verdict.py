"""Figures against limits: each fails by itself, with its reason."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from pipeline.config.sections import EvaluateSettings
from pipeline.evaluation.faults import FAULTS
from pipeline.evaluation.rollout_figures import FreeRunning
from pipeline.evaluation.verdict import FIGURES_VERSION, Verdict, format_table, judge

GOOD: dict[str, Any] = {
    "mse": 0.2, "repeat_last_mse": 0.25, "mse_ratio": 0.8, "linear_mse_ratio": 0.7, "nll": None,
    "rollouts": 16, "seconds": 10.0, "faulty_share": 0.0, "real_faulty_share": 0.0,
    **{f"{fault}_share": 0.0 for fault in FAULTS},
    "movement_ratio": 0.9, "movement_interval": (0.8, 1.0),
    "variance_ratio": 1.1, "variance_interval": (1.0, 1.2),
    "rhythm_ratio": 0.5, "rhythm_interval": (0.4, 0.6),
    "attack_ratio": 0.3, "attack_interval": (0.2, 0.4),
    "drift_db": 3.0, "real_drift_db": 1.5, "drift_ratio": 2.0,
    "kernel_distance": 30.0, "kernel_interval": (20.0, 40.0),
    "same_kernel_distance": -3.0, "real_kernel_distance": 60.0, "real_kernel_interval": (40, 80),
    "kernel_ratio": 0.5, "kernel_ratio_interval": (0.33, 0.67),
    "diversity_ratio": 0.8, "nearest_ratio": 1.0, "copied_share": 0.05, "real_copied_share": 0.06,
    "vocoder_kernel_distance": -5.0, "vocoder_movement_ratio": 1.0, "vocoder_error_db": 0.9,
}  # fmt: skip


def judged(before: dict[str, Any] | None = None, **changed: Any) -> Verdict:
    return judge({**GOOD, **changed}, EvaluateSettings(), before)


def earlier(**changed: Any) -> dict[str, Any]:
    verdict = judge({**GOOD, **changed}, EvaluateSettings(), model_id="a1b2c3d4e5f6")
    return json.loads(verdict.to_json())


def failures(verdict: Verdict) -> list[str]:
    assert verdict.blessed == all(reason.startswith("pass: ") for reason in verdict.reasons)
    return [reason for reason in verdict.reasons if reason.startswith("FAIL: ")]


def test_these_are_the_figures_that_are_measured() -> None:
    assert {field.name for field in dataclasses.fields(FreeRunning)} <= set(GOOD)
    assert judged().blessed


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"faulty_share": 0.3, "loop_share": 0.2, "dead_share": 0.1},
         "30% of 16 rollouts are at fault (10% dead, 20% loop; at most 25%)"),
        ({"movement_ratio": 0.6}, "movement is 0.60"),
        ({"movement_ratio": 1.7}, "movement is 1.70"),
        ({"variance_ratio": 0.5}, "variance over time is 0.50"),
        ({"rhythm_ratio": 0.2}, "rhythm is as regular as 0.20"),
        ({"attack_ratio": -0.9}, "sound rises more steeply than it falls by -0.90"),
        ({"diversity_ratio": 0.3}, "clips of one primer differ by 0.30"),
        ({"drift_ratio": 5.0, "drift_db": 7.5}, "the level drifts by 7.5 dB, 5.0 times"),
        ({"kernel_ratio": 2.5, "kernel_distance": 150.0},
         "distance from real recordings is 150, where other real ones have 60: 2.50"),
        ({"copied_share": 0.3}, "30% of stretches are copies"),
        ({"movement_ratio": float("nan")}, "movement is nan"),
    ],
)  # fmt: skip
def test_each_limit_refuses_by_itself(changed: dict[str, Any], said: str) -> None:
    (reason,) = failures(judged(**changed))
    assert said in reason


def test_copies_count_beyond_those_that_real_music_has() -> None:
    assert judged(copied_share=0.3, real_copied_share=0.15).blessed
    assert judged(copied_share=None, real_copied_share=None).blessed


def test_without_held_out_music_nothing_is_blessed() -> None:
    (reason,) = failures(judge({"mse": None}, EvaluateSettings(), earlier()))
    assert "no recording is held out" in reason


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ({"kernel_ratio": 0.2, "kernel_ratio_interval": (0.1, 0.3)}, "distance, of that of other"),
        ({"rhythm_ratio": 0.8, "rhythm_interval": (0.7, 0.9)}, "rhythm, of real, is 0.50"),
    ],
)
def test_a_model_clearly_worse_than_the_last_blessed_is_refused(
    before: dict[str, Any], said: str
) -> None:
    (reason,) = failures(judged(earlier(**before)))
    assert said in reason
    assert "a1b2c3d4e5f6" in reason
    lenient = EvaluateSettings(refuse_worse=False)
    assert judge(GOOD, lenient, earlier(**before)).blessed


@pytest.mark.parametrize(
    "before",
    [
        {},
        {"kernel_ratio": 0.4, "kernel_ratio_interval": (0.3, 0.5)},  # better, but not clearly
        {"kernel_ratio": 1.5, "kernel_ratio_interval": (1.2, 1.8)},
        {"rhythm_ratio": 0.3, "rhythm_interval": (0.2, 0.35)},
    ],
)
def test_a_model_as_good_as_the_last_blessed_passes(before: dict[str, Any]) -> None:
    verdict = judged(earlier(**before))
    assert verdict.blessed
    assert len(verdict.reasons) == len(judged().reasons) + 2


def test_other_figures_are_not_compared() -> None:
    old = earlier(kernel_ratio=0.1, kernel_ratio_interval=(0.1, 0.1)) | {
        "version": FIGURES_VERSION - 1
    }
    verdict = judged(old)
    assert verdict.blessed
    assert "it is not compared" in verdict.reasons[-1]


def test_the_table_has_a_line_a_figure_with_what_is_real() -> None:
    lines = format_table(judged(kernel_distance=123.4))
    (distance,) = [line for line in lines if line.startswith("distance from real continuations")]
    assert distance.split()[-5:] == ["123", "20.00", "to", "40.00", "60.00"]
    assert not any("log-likelihood" in line for line in lines), "nll is not known here"
    assert format_table(judge({"mse": None}, EvaluateSettings()))
