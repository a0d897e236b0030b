"""Learning curves of a training run, drawn as SVG for the page."""

from __future__ import annotations

import io
import math
import re
from typing import Any

# Colours that matplotlib is given, and the variables of page.css that replace them, so that the
# picture follows the page's light or dark scheme.
_INK, _TRAINING, _HELD_OUT, _KEPT = "#000001", "#000002", "#000003", "#000004"
_VARIABLES = {_INK: "--ink", _TRAINING: "--accent", _HELD_OUT: "--focus", _KEPT: "--good"}


def draw_learning_curves(history: dict[str, Any]) -> str | None:
    """Returns the losses of a history.json as an SVG element; None if no loss is finite.

    The axis of the loss is linear, because a negative log-likelihood can be below zero.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    colours = dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
    )
    style = {**colours, "svg.fonttype": "none", "svg.hashsalt": "nocturne", "font.size": 11}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(8, 3), layout="constrained")
        axes = figure.add_subplot(xlabel="training step", ylabel="loss")
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for key, label, colour, dash in (
            ("loss", "training recordings", _TRAINING, "-"),
            ("eval_loss", "held-out recordings", _HELD_OUT, "--"),
        ):
            points = [
                (row["step"], row[key])
                for row in history["epochs"]
                if math.isfinite(row.get(key, math.nan))
            ]
            if points:
                axes.plot(*zip(*points, strict=True), dash, color=colour, label=label, marker=".")
        if not axes.lines:
            return None
        best = history.get("best", {}).get("step")
        if best is not None:
            axes.axvline(best, linestyle=":", color=_KEPT, label=f"kept weights: step {best}")
        axes.legend(frameon=False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _without_styles(buffer.getvalue())


def _without_styles(svg: str) -> str:
    """Returns an SVG element without style sheets and attributes, which the page's policy blocks.

    Colours and dashes become presentation attributes; fonts are left to the page.
    """
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'style="([^"]*)"', _presentation_attributes, svg[svg.index("<svg") :])
    return re.sub("#00000[1-4]", lambda match: f"var({_VARIABLES[match[0]]})", svg)


def _presentation_attributes(style: re.Match[str]) -> str:
    pairs = (part.partition(":") for part in style[1].split(";"))
    return " ".join(
        f'{name.strip()}="{value.strip()}"'
        for name, _, value in pairs
        if value and not name.strip().startswith("font")
    )
