from __future__ import annotations

import math
import re
from xml.etree import ElementTree

from pipeline.report.learning_curves import draw_learning_curves

HISTORY = {
    "epochs": [
        {"step": 10, "loss": 2.0, "eval_loss": 1.0},
        {"step": 20, "loss": -1.0, "eval_loss": 0.5},
    ],
    "best": {"step": 20},
}


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.text]


def points(svg: str, variable: str) -> list[tuple[float, float]]:
    """Returns the points of the curve that is drawn in a colour of the page."""
    pattern = rf'<path d="([^"]*)" [^>]*stroke="var\({variable}\)" stroke-width="1.5"'
    path = re.findall(pattern, svg)[0]  # the second one is in the legend
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path)]


def test_curves_and_the_kept_step_are_drawn_from_left_to_right() -> None:
    svg = draw_learning_curves(HISTORY)
    assert svg is not None
    assert {"training recordings", "held-out recordings", "kept weights: step 20"} <= set(
        texts(svg)
    )
    training, held_out = points(svg, "--accent"), points(svg, "--focus")
    assert training[0][0] == held_out[0][0] < training[1][0] == held_out[1][0]
    assert training[0][1] < held_out[0][1] < held_out[1][1] < training[1][1]  # y points down


def test_the_same_losses_give_the_same_bytes_in_colours_of_the_page() -> None:
    svg = draw_learning_curves(HISTORY)
    assert svg == draw_learning_curves(HISTORY)
    assert svg is not None
    assert "style" not in svg
    colours = set(re.findall(r'(?:fill|stroke)="([^"]*)"', svg))
    assert colours == {"none", "var(--ink)", "var(--accent)", "var(--focus)", "var(--good)"}


def test_one_row_a_gap_and_nothing_finite() -> None:
    assert draw_learning_curves({"epochs": [{"step": 5, "loss": 1.0}]}) is not None
    gap = draw_learning_curves(
        {"epochs": [{"step": 1, "loss": math.nan}, {"step": 2, "loss": 1.0}]}
    )
    assert gap is not None
    assert "held-out recordings" not in texts(gap)
    assert draw_learning_curves({"epochs": [{"step": 1, "loss": math.inf}]}) is None
