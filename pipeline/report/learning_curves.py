"""Learning curves as the points of an SVG picture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

WIDTH, HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 28
_TICKS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curves:
    """Points and ticks, in pixels of a picture of WIDTH by HEIGHT.

    Attributes:
      lines: of each curve its name, and its points as SVG's polyline takes them.
      across: ticks of the steps, position and text.
      up: ticks of the loss.
      best: where the best step is; None where it is not one of those drawn.
    """

    lines: tuple[tuple[str, str], ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    best: float | None


def curves_of(history: dict[str, Any]) -> Curves | None:
    """Returns the losses of a history.json as curves; None where there is no finite one.

    The losses' axis is plain: a likelihood's logarithm may be negative.
    """
    rows = history["epochs"]
    named = (("loss", "training"), ("eval_loss", "held out"))
    series = {
        text: [(row["step"], row[key]) for row in rows if math.isfinite(row.get(key, math.nan))]
        for key, text in named
    }
    points = [point for line in series.values() for point in line]
    if not points:
        return None
    xs, ys = _Axis([x for x, _ in points]), _Axis([y for _, y in points])

    def x_of(step: float) -> float:
        return round(_LEFT + xs.share(step) * (WIDTH - _LEFT - _RIGHT), 1)

    def y_of(loss: float) -> float:
        return round(HEIGHT - _BOTTOM - ys.share(loss) * (HEIGHT - _TOP - _BOTTOM), 1)

    best = history.get("best", {}).get("step")
    return Curves(
        lines=tuple(
            (text, " ".join(f"{x_of(x)},{y_of(y)}" for x, y in line))
            for text, line in series.items()
            if line
        ),
        across=tuple((x_of(step), f"{step:.0f}") for step in xs.ticks()),
        up=tuple((y_of(loss), f"{loss:.3g}") for loss in ys.ticks()),
        best=x_of(best) if best in {x for x, _ in points} else None,
    )


class _Axis:
    """Values from the least to the largest."""

    def __init__(self, values: Sequence[float]) -> None:
        self._least, self._largest = min(values), max(values)
        if self._least == self._largest:
            self._least, self._largest = self._least - 0.5, self._largest + 0.5

    def share(self, value: float) -> float:
        return (value - self._least) / (self._largest - self._least)

    def ticks(self) -> list[float]:
        span = self._largest - self._least
        return [self._least + span * index / _TICKS for index in range(_TICKS + 1)]
