from __future__ import annotations

import math

from pipeline.report.learning_curves import curves_of


def test_curves_start_at_the_left_and_fall_to_the_bottom() -> None:
    rows = [
        {"step": 10, "loss": 2.0, "eval_loss": 1.0},
        {"step": 20, "loss": -1.0, "eval_loss": 0.5},
    ]
    found = curves_of({"epochs": rows, "best": {"step": 20}})
    assert found is not None
    assert found.lines == (
        ("training", "56.0,10.0 628.0,192.0"),
        ("held out", "56.0,70.7 628.0,101.0"),
    )
    assert [text for _, text in found.across] == ["10", "12", "15", "18", "20"]
    assert found.up[0] == (192.0, "-1")
    assert found.best == 628.0


def test_one_row_a_gap_and_nothing_finite() -> None:
    one = curves_of({"epochs": [{"step": 5, "loss": 1.0}]})
    assert one is not None
    assert one.lines == (("training", "342.0,101.0"),)
    gap = curves_of({"epochs": [{"step": 1, "loss": math.nan}, {"step": 2, "loss": 1.0}]})
    assert gap is not None
    assert len(gap.lines[0][1].split()) == 1
    assert curves_of({"epochs": [{"step": 1, "loss": math.inf}]}) is None
