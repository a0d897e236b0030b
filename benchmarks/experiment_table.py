"""The results of an experiment as Markdown tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

# Columns of the table: name of the figure, heading and number format.
_COLUMNS = (
    ("lowest_score", "lowest score", ".2f"),
    ("partials_1s", "partials, 1 s", ".2f"),
    ("real_partials_1s", "real", ".2f"),
    ("beat", "beat", ".2f"),
    ("real_beat", "real", ".2f"),
    ("attack", "attack", ".2f"),
    ("real_attack", "real", ".2f"),
    ("chord_changes", "chord changes", ".2f"),
    ("real_chord_changes", "real", ".2f"),
    ("kernel_distance", "distance", ".0f"),
    ("real_kernel_distance", "of other real", ".0f"),
    ("difference", "difference", ".1f"),
    ("real_difference", "real", ".1f"),
    ("faulty_share", "faulty", ".0%"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """Result of one training run.

    Attributes:
      variant: Name of the variant.
      seed: Training seed.
      steps: Number of training steps.
      seconds: Duration of the training, on the machine that trained.
      figures: Fields of RolloutFigures for each length of rollouts.
    """

    variant: str
    seed: int
    steps: int
    seconds: float
    figures: tuple[dict[str, Any], ...]


def table(results: Sequence[Result]) -> list[str]:
    """Returns Markdown tables of the variants' means and ranges over seeds, one for each length."""
    lines: list[str] = []
    for index in range(len(results[0].figures) if results else 0):
        first = results[0].figures[index]
        columns = [column for column in _COLUMNS if column[0] in first]
        if lines:
            lines.append("")
        lines += [f"{first['rollouts']} rollouts of {first['seconds']:g} s.", ""]
        lines.append("| | seeds | " + " | ".join(name for _, name, _ in columns) + " |")
        lines.append("|---" * (2 + len(columns)) + "|")
        for variant in dict.fromkeys(result.variant for result in results):
            rows = [result.figures[index] for result in results if result.variant == variant]
            cells = [_cell([row[key] for row in rows], spec) for key, _, spec in columns]
            lines.append(f"| {variant} | {len(rows)} | " + " | ".join(cells) + " |")
    return lines


def _cell(values: Sequence[float], spec: str) -> str:
    mean = format(sum(values) / len(values), spec)
    low, high = format(min(values), spec), format(max(values), spec)
    return mean if low == high else f"{mean} ({low} to {high})"
