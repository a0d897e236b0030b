"""The three answers of a verdict, and the reasons for them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from audio.errors import CannotJudgeError, NotBlessedError, UsageError
from pipeline.config.sections import EvaluateSettings
from pipeline.evaluation.faults import FAULTS
from pipeline.evaluation.figure_table import FIGURES
from pipeline.evaluation.verdict import (
    BLESSED,
    CANNOT_BE_JUDGED,
    FIGURES_VERSION,
    REFUSED,
    Verdict,
    format_table,
    judge,
)

CONTROLS = ("noise", "untrained model")


def score(value: float | None, figures: int = 4, width: float = 0.1) -> dict[str, Any]:
    if value is None:
        return {"score": None, "interval": None, "figures": {}}
    names = list(FIGURES)[:figures]
    return {
        "score": value,
        "interval": (value - width, value + width),
        "figures": dict.fromkeys(names, value),
    }


GOOD: dict[str, Any] = {
    "held_out": {"recordings": 5, "seconds": 400.0},
    "mse": 0.2, "repeat_last_mse": 0.25, "mse_ratio": 0.8, "linear_mse_ratio": 0.7,
    "nll": 80.0, "untrained_nll": 90.0,
    "rollouts": 24, "seconds": 10.0, "faulty_share": 0.0, "real_faulty_share": 0.0,
    **{f"{fault}_share": 0.0 for fault in FAULTS},
    "kernel_distance": 30.0, "real_kernel_distance": 60.0,
    "difference": 8.0, "real_difference": 10.0,
    "nearest_distance": 1.0, "real_nearest_distance": 1.0, "copied_share": 0.05,
    "real_copied_share": 0.06, "longest_copy_seconds": 1.5, "vocoder_error_db": 0.9,
    "classifier": {"model": 0.6, "real": 0.55, "controls": dict.fromkeys(CONTROLS, 0.95)},
    "scores": {name: score(0.8) for name in CONTROLS},
    "scale": {
        name: {
            "real": 0.9, "real_range": (0.85, 0.95), "model": 0.8,
            "controls": {"noise": 0.1, "untrained model": 0.4},
            "best_control": "untrained model", "place": 0.9, "interval": (0.8, 1.0),
        }
        for name in FIGURES
    },
}  # fmt: skip


def changed(**changes: Any) -> dict[str, Any]:
    figures = copy.deepcopy(GOOD)
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            figures[section][key if key in figures[section] else key.replace("_", " ")] = value
        else:
            figures[name] = value
    return figures


def verdict_on(
    last_blessed: dict[str, Any] | None = None, *, settings: Any = None, **changes: Any
) -> Verdict:
    return judge(changed(**changes), settings or EvaluateSettings(), last_blessed)


def earlier(**changes: Any) -> dict[str, Any]:
    verdict = judge(changed(**changes), EvaluateSettings(), model_id="a1b2c3d4e5f6")
    return json.loads(verdict.to_json())


def failures(verdict: Verdict) -> list[str]:
    return [reason for reason in verdict.reasons if reason.startswith("FAIL: ")]


def test_a_good_model_is_blessed() -> None:
    verdict = verdict_on()
    assert verdict.outcome == BLESSED
    assert verdict.blessed
    assert failures(verdict) == []
    assert verdict.sentence.startswith("The model is blessed")
    verdict.require_blessed("model")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scores__noise": score(0.4)},
         "between noise (0) and real music (1) the model is at 0.40"),
        ({"scores__noise": score(0.6, width=0.5)}, "the model is at 0.60 (0.10 to 1.10"),
        ({"scores__untrained_model": score(-0.2)}, "between untrained model (0)"),
        ({"scores__noise": score(float("nan"))}, "the model is at nan"),
        ({"scale__attack": {**GOOD["scale"]["attack"], "place": 0.1, "interval": (-0.1, 0.2)}},
         "1 of 16 figures are clearly nearer to a control than to real music: attacks steeper"),
        ({"mse_ratio": 1.13}, "is 1.13 times that of repeating the last frame"),
        ({"nll": 90.0},
         "likelihood of held-out music is 90.00 nats a frame; that of the same network without"),
        ({"faulty_share": 0.3, "loop_share": 0.2, "dead_share": 0.1},
         "30% of 24 rollouts have a fault (10% dead, 20% loop; maximum 25%)"),
        ({"difference": 3.0}, "two rollouts of one primer differ by 3.0 (minimum 4.0"),
        ({"copied_share": 0.3, "longest_copy_seconds": 9.0},
         "30% of the stretches are copies of training recordings (maximum 26%); the longest "
         "follows one recording for 9.0 s"),
    ],
)  # fmt: skip
def test_each_check_refuses_on_its_own(changes: dict[str, Any], said: str) -> None:
    verdict = verdict_on(**changes)
    (reason,) = failures(verdict)
    assert said in reason
    assert verdict.outcome == REFUSED
    assert not verdict.blessed
    assert "1 of 8 checks failed" in verdict.sentence
    assert said in verdict.sentence or "not clearly nearer to real music than" in verdict.sentence
    with pytest.raises(NotBlessedError, match="my-model: The model is refused"):
        verdict.require_blessed("my-model")


def test_the_first_sentence_names_the_weakest_comparison_in_plain_words() -> None:
    verdict = verdict_on(scores__noise=score(0.4), scores__untrained_model=score(0.1))
    assert verdict.sentence == (
        "The model is refused: its music is not clearly nearer to real music than what the same "
        "network makes without training. 2 of 8 checks failed."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"held_out__recordings": 2}, "2 held-out recordings with 400 s in all are too few"),
        ({"held_out__seconds": 119.0}, "5 held-out recordings with 119 s in all are too few"),
        ({"scores__noise": score(0.9, figures=1)}, "tell real music from this control: noise"),
        ({"scores__noise": score(None)}, "tell real music from this control: noise"),
    ],
)
def test_what_cannot_be_judged_is_neither_blessed_nor_refused(
    changes: dict[str, Any], said: str
) -> None:
    verdict = verdict_on(**changes)
    assert verdict.outcome == CANNOT_BE_JUDGED
    assert not verdict.blessed
    assert said in verdict.sentence
    with pytest.raises(CannotJudgeError, match=r"cannot be judged.*Add"):
        verdict.require_blessed("my-model")
    accepted = verdict_on(settings=EvaluateSettings(accept_unjudged=True), **changes)
    assert accepted.outcome == CANNOT_BE_JUDGED
    assert accepted.blessed
    accepted.require_blessed("my-model")
    assert json.loads(accepted.to_json())["blessed"]


def test_without_held_out_music_there_are_no_figures_and_no_checks() -> None:
    figures = {"held_out": {"recordings": 0, "seconds": 0.0}, "mse": None}
    verdict = judge(figures, EvaluateSettings(), earlier())
    assert verdict.outcome == CANNOT_BE_JUDGED
    assert verdict.reasons == ()
    assert format_table(verdict) == []


def test_accepting_unjudged_models_does_not_accept_refused_ones() -> None:
    settings = EvaluateSettings(accept_unjudged=True)
    assert not verdict_on(settings=settings, scores__noise=score(0.1)).blessed


def test_copies_and_faults_count_only_beyond_those_in_real_music() -> None:
    assert verdict_on(copied_share=0.3, real_copied_share=0.15).blessed
    assert verdict_on(copied_share=None, real_copied_share=None).blessed
    assert verdict_on(faulty_share=0.3, real_faulty_share=0.1).blessed


def test_a_model_clearly_worse_than_the_last_blessed_is_refused() -> None:
    old = earlier(
        scores__noise=score(0.98, width=0.02), scores__untrained_model=score(0.97, width=0.02)
    )
    (reason,) = failures(verdict_on(old))
    assert "its lowest score is 0.80; the last blessed model, a1b2c3d4e5f6, had 0.97" in reason


@pytest.mark.parametrize("value", [-1, 0, 0.2])
def test_no_setting_lets_a_control_pass(value: float) -> None:
    with pytest.raises(UsageError, match=r"evaluate.min_score: wanted 0\.25 to 1"):
        EvaluateSettings(min_score=value)
    lowest = EvaluateSettings(min_score=0.25)
    assert verdict_on(settings=lowest, scores__noise=score(0.0)).outcome == REFUSED


@pytest.mark.parametrize("value", [0.75, 0.85, 0.55])
def test_a_model_about_as_good_as_the_last_blessed_passes(value: float) -> None:
    verdict = verdict_on(earlier(scores__noise=score(value)))
    assert verdict.blessed
    assert len(verdict.reasons) == len(verdict_on().reasons) + 1


def test_figures_of_another_version_are_not_compared() -> None:
    verdict = verdict_on(earlier() | {"version": FIGURES_VERSION - 1})
    assert verdict.blessed
    assert "not compared" in verdict.reasons[-1]


def test_the_table_has_a_line_for_each_figure_and_each_control() -> None:
    lines = format_table(verdict_on())
    (attack,) = [line for line in lines if line.startswith("attacks steeper than decays")]
    assert attack.split()[-7:] == ["0.90", "0.80", "0.40", "untrained", "model", "0.90", "pass"]
    (noise,) = [line for line in lines if line.startswith("noise")]
    assert noise.split() == ["noise", "0.80", "0.70", "to", "0.90", "4"]
    figures = changed()
    figures["scale"]["attack"] |= {"best_control": None, "place": None, "interval": None}
    lines = format_table(judge(figures, EvaluateSettings()))
    assert any(line.endswith("tells no control from real music") for line in lines)
