"""Each limit refuses on its own and gives its reason."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from pipeline.config.sections import EvaluateSettings
from pipeline.evaluation.faults import FAULTS
from pipeline.evaluation.rollout_figures import RolloutFigures
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


def verdict_on(last_blessed: dict[str, Any] | None = None, **changed: Any) -> Verdict:
    return judge({**GOOD, **changed}, EvaluateSettings(), last_blessed)


def earlier(**changed: Any) -> dict[str, Any]:
    verdict = judge({**GOOD, **changed}, EvaluateSettings(), model_id="a1b2c3d4e5f6")
    return json.loads(verdict.to_json())


def failures(verdict: Verdict) -> list[str]:
    assert verdict.blessed == all(reason.startswith("pass: ") for reason in verdict.reasons)
    return [reason for reason in verdict.reasons if reason.startswith("FAIL: ")]


def test_the_figures_here_are_those_that_are_measured() -> None:
    assert {field.name for field in dataclasses.fields(RolloutFigures)} <= set(GOOD)
    assert verdict_on().blessed


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"faulty_share": 0.3, "loop_share": 0.2, "dead_share": 0.1},
         "30% of 16 rollouts have a fault (10% dead, 20% loop; maximum 25%)"),
        ({"movement_ratio": 0.6}, "movement is 0.60 of real recordings' (minimum 0.65, "),
        ({"movement_ratio": 1.7}, "movement is 1.70"),
        ({"variance_ratio": 0.5}, "variance over time is 0.50"),
        ({"rhythm_ratio": 0.2}, "regularity of the rhythm is 0.20 of real"),
        ({"attack_ratio": -0.9}, "attack sharpness is -0.90 of real recordings' (minimum -0.25)"),
        ({"diversity_ratio": 0.3}, "two clips of one primer differ 0.30 times as much"),
        ({"drift_ratio": 5.0, "drift_db": 7.5}, "the level drifts by 7.5 dB, 5.0 times"),
        ({"kernel_ratio": 2.5, "kernel_distance": 150.0},
         "is 150, that of other real recordings is 60: the ratio is 2.50"),
        ({"copied_share": 0.3}, "30% of stretches are copies"),
        ({"movement_ratio": float("nan")}, "movement is nan"),
    ],
)  # fmt: skip
def test_each_limit_refuses_on_its_own(changed: dict[str, Any], said: str) -> None:
    (reason,) = failures(verdict_on(**changed))
    assert said in reason


def test_copies_count_only_beyond_those_in_real_music() -> None:
    assert verdict_on(copied_share=0.3, real_copied_share=0.15).blessed
    assert verdict_on(copied_share=None, real_copied_share=None).blessed


def test_without_held_out_music_nothing_is_blessed() -> None:
    (reason,) = failures(judge({"mse": None}, EvaluateSettings(), earlier()))
    assert "no recording is held out" in reason


@pytest.mark.parametrize(
    ("old", "said"),
    [
        (
            {"kernel_ratio": 0.2, "kernel_ratio_interval": (0.1, 0.3)},
            "distance ratio is 0.50 (0.33 to 0.67); the last blessed model",
        ),
        ({"rhythm_ratio": 0.8, "rhythm_interval": (0.7, 0.9)}, "rhythm ratio is 0.50"),
    ],
)
def test_a_model_clearly_worse_than_the_last_blessed_is_refused(
    old: dict[str, Any], said: str
) -> None:
    (reason,) = failures(verdict_on(earlier(**old)))
    assert said in reason
    assert "a1b2c3d4e5f6" in reason
    lenient = EvaluateSettings(refuse_worse=False)
    assert judge(GOOD, lenient, earlier(**old)).blessed


@pytest.mark.parametrize(
    "old",
    [
        {},
        {"kernel_ratio": 0.4, "kernel_ratio_interval": (0.3, 0.5)},  # better, but not clearly
        {"kernel_ratio": 1.5, "kernel_ratio_interval": (1.2, 1.8)},
        {"rhythm_ratio": 0.3, "rhythm_interval": (0.2, 0.35)},
    ],
)
def test_a_model_as_good_as_the_last_blessed_passes(old: dict[str, Any]) -> None:
    verdict = verdict_on(earlier(**old))
    assert verdict.blessed
    assert len(verdict.reasons) == len(verdict_on().reasons) + 2


def test_figures_of_another_version_are_not_compared() -> None:
    old = earlier(kernel_ratio=0.1, kernel_ratio_interval=(0.1, 0.1)) | {
        "version": FIGURES_VERSION - 1
    }
    verdict = verdict_on(old)
    assert verdict.blessed
    assert "not compared" in verdict.reasons[-1]


def test_the_table_has_a_line_for_each_figure_with_the_real_value() -> None:
    lines = format_table(verdict_on(kernel_distance=123.4))
    (distance,) = [line for line in lines if line.startswith("distance from real continuations")]
    assert distance.split()[-5:] == ["123", "20.00", "to", "40.00", "60.00"]
    assert not any("log-likelihood" in line for line in lines), "nll is not known here"
    assert format_table(judge({"mse": None}, EvaluateSettings()))


WORST: dict[str, Any] = {
    "faulty_share": 1.0, "movement_ratio": 0.0, "variance_ratio": 50.0, "rhythm_ratio": -1.0,
    "attack_ratio": -9.0, "diversity_ratio": 0.0, "drift_ratio": 90.0, "kernel_ratio": 99.0,
    "copied_share": 1.0,
}  # fmt: skip
# Within half the tolerance, which is 0.825 to 1.3 for movement and variance.
LIVELY: dict[str, Any] = {"rhythm_ratio": 0.7, "attack_ratio": 0.4}


@pytest.mark.parametrize(
    ("tolerance", "figures", "n_failures"),
    [
        (1.0, GOOD, 0),
        (1.0, GOOD | WORST, 9),
        (1000.0, GOOD | WORST, 0),
        (0.0, GOOD, 6),  # no worse than real music in faults, distance and copies
        (0.5, GOOD | LIVELY | {"movement_ratio": 0.82, "variance_ratio": 1.31}, 2),
        (0.5, GOOD | LIVELY | {"movement_ratio": 0.83, "variance_ratio": 1.29}, 0),
    ],
)
def test_the_tolerance_moves_every_limit_away_from_real_music(
    tolerance: float, figures: dict[str, Any], n_failures: int
) -> None:
    verdict = judge(figures, EvaluateSettings(tolerance=tolerance), None)
    assert len(failures(verdict)) == n_failures
