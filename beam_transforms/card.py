"""The data card: what a dataset sounds like in figures, and what changed since the one before.

The figures of a split are over its records, which is what TFX's StatisticsGen sees, so the two
agree; the percentiles are over recordings. A row of recordings.jsonl holds the sums over its
records, so no record is read again.
"""

from __future__ import annotations

import array
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from audio import contract
from beam_transforms.extract import Extracted

Row = Mapping[str, Any]
Values = Sequence[float] | npt.NDArray[np.float64]

STRETCH_FIGURES = tuple(n for n in contract.FIGURES if n not in contract.RECORDING_FIGURES)
_PERCENTILES = (5, 50, 95)
# A shift is called one where chance is unlikely and the distance is one that people would hear of.
_SHIFT_P, _SHIFT_DISTANCE = 0.01, 0.2


def summaries(extracted: Extracted) -> dict[str, list[float]]:
    """Returns sum, sum of squares, least and largest of each figure of a recording's chunks."""
    rows = [dataclasses.asdict(chunk.figures) for chunk in extracted.chunks]
    columns = {name: [float(np.float32(row[name])) for row in rows] for name in STRETCH_FIGURES}
    return {
        name: [sum(column), sum(x * x for x in column), min(column), max(column)]
        for name, column in columns.items()
    }


def data_card(
    recordings: Iterable[Row], *, previous: Iterable[Row] | None = None
) -> dict[str, Any]:
    """Returns the figures of each split, and the drift since an earlier version.

    Args:
      recordings: rows as in recordings.jsonl; gone through once, and not kept.
      previous: those of the version before; None where there is none.
    """
    now = {split: _Gathered() for split in contract.SPLITS}
    for row in recordings:
        now[row["split"]].add(row)
    splits = {
        split: {
            "recordings": len(gathered.ids),
            "records": gathered.records,
            "seconds": round(sum(gathered.values(contract.DURATION_SECONDS)), 3),
            "figures": {name: gathered.figure(name) for name in contract.FIGURES},
        }
        for split, gathered in now.items()
    }
    return {"splits": splits, "drift": None if previous is None else _drift(previous, now.values())}


class _Gathered:
    """Figures of many recordings: sums over records, one value a recording."""

    def __init__(self) -> None:
        self.ids: set[bytes] = set()
        self.records = 0
        self._columns = {name: _Column() for name in contract.FIGURES}

    def add(self, row: Row) -> None:
        self.ids.add(bytes.fromhex(row["recording_id"]))
        self.records += row["n_records"]
        for name, column in self._columns.items():
            if name in STRETCH_FIGURES and "stretches" in row:
                column.add(row["n_records"], *row["stretches"][name])
            elif row.get(name) is not None:
                # The records hold it in single precision.
                value, count = float(np.float32(row[name])), row["n_records"]
                column.add(count, value * count, value * value * count, value, value)

    def values(self, name: str) -> Sequence[float]:
        """Returns one value a recording: its own, or the mean of its records."""
        return self._columns[name].values

    def figure(self, name: str) -> dict[str, float] | None:
        """Returns mean, std, least, largest over records, percentiles over recordings."""
        column = self._columns[name]
        if not column.count:
            return None
        mean = column.total / column.count
        variance = column.squares / column.count - mean * mean
        percentiles = np.percentile(column.values, _PERCENTILES)
        found = {
            "mean": mean,
            "std": math.sqrt(max(0.0, variance)),
            "min": column.least,
            "max": column.largest,
            **{f"p{p}": value for p, value in zip(_PERCENTILES, percentiles, strict=True)},
        }
        return {"records": column.count, **{key: _plain(value) for key, value in found.items()}}


class _Column:
    """One figure of many recordings."""

    def __init__(self) -> None:
        self.values = array.array("d")
        self.count = 0
        self.total = self.squares = 0.0
        self.least, self.largest = math.inf, -math.inf

    def add(self, count: int, total: float, squares: float, least: float, largest: float) -> None:
        """Takes a recording's count, sum, sum of squares, least and largest over its records."""
        self.values.append(total / count)
        self.count += count
        self.total += total
        self.squares += squares
        self.least, self.largest = min(self.least, least), max(self.largest, largest)


def _drift(before: Iterable[Row], now: Iterable[_Gathered]) -> dict[str, Any]:
    """Returns how the recordings of two versions differ, figure by figure.

    The distance is the two-sample Kolmogorov-Smirnov statistic over recordings: the largest
    difference between the two cumulative distributions, 0 (the same) to 1 (no overlap).
    """
    old = _Gathered()
    for row in before:
        old.add(row)
    splits = list(now)
    figures = {}
    for name in contract.FIGURES:
        values = np.concatenate([gathered.values(name) for gathered in splits])
        if not len(old.values(name)) or not len(values):
            continue
        distance, p = _distance(old.values(name), values)
        figures[name] = {
            "before": _plain(np.median(old.values(name))),
            "now": _plain(np.median(values)),
            "distance": _plain(distance),
            "shifted": bool(p < _SHIFT_P and distance > _SHIFT_DISTANCE),
        }
    ids = set().union(*(gathered.ids for gathered in splits))
    return {
        "recordings_added": len(ids - old.ids),
        "recordings_removed": len(old.ids - ids),
        "figures": figures,
    }


def card_lines(card: Mapping[str, Any]) -> list[str]:
    """Returns a data card as lines for people."""
    lines = [f"  {'':<18}" + "".join(f"{split:>34}" for split in card["splits"])]
    lines.append(
        f"  {'':<18}" + "".join(f"{'p5':>14}{'median':>10}{'p95':>10}" for _ in card["splits"])
    )
    for name in contract.FIGURES:
        cells = [split["figures"][name] for split in card["splits"].values()]
        if any(cell is not None for cell in cells):
            lines.append(f"  {name:<18}" + "".join(_cells(cell) for cell in cells))
    if card["drift"]:
        lines += _drift_lines(card["drift"])
    return lines


def _cells(cell: Mapping[str, float] | None) -> str:
    if cell is None:
        return f"{'-':>14}{'-':>10}{'-':>10}"
    return f"{short(cell['p5']):>14}{short(cell['p50']):>10}{short(cell['p95']):>10}"


def short(value: float) -> str:
    """Returns a figure with the digits that people read."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _drift_lines(found: Mapping[str, Any]) -> list[str]:
    shifted = [
        f"{name} (median {short(cell['before'])} -> {short(cell['now'])}, "
        f"distance {cell['distance']:.2f})"
        for name, cell in found["figures"].items()
        if cell["shifted"]
    ]
    return [
        f"  against the version before: {found['recordings_added']} recordings added, "
        f"{found['recordings_removed']} removed; shifted: {', '.join(shifted) or 'nothing'}"
    ]


def _distance(old: Values, new: Values) -> tuple[float, float]:
    from scipy import stats

    found = stats.ks_2samp(old, new)
    return float(found.statistic), float(found.pvalue)


def _plain(value: float) -> float:
    """Returns a number with the digits that a reader can use: the same text on every machine."""
    return float(f"{value:.7g}")
