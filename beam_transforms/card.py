"""The data card: what a dataset sounds like in figures, and what changed since the one before.

The figures of a split are over its records, which is what TFX's StatisticsGen sees, so the two
agree; the percentiles are over recordings. Everything here is pure: it takes the rows that stand in
recordings.jsonl, and a row holds sums, so no record is read again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from audio import contract
from beam_transforms.extract import Extracted

Row = Mapping[str, Any]

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
    recordings: Sequence[Row], *, previous: Sequence[Row] | None = None
) -> dict[str, Any]:
    """Returns the figures of each split, and the drift since an earlier version.

    Args:
      recordings: rows as in recordings.jsonl.
      previous: those of the version before; None where there is none.
    """
    splits = {}
    for split in contract.SPLITS:
        rows = [row for row in recordings if row["split"] == split]
        splits[split] = {
            "recordings": len(rows),
            "records": sum(row["n_records"] for row in rows),
            "seconds": round(sum(row[contract.DURATION_SECONDS] for row in rows), 3),
            "figures": {name: _figure(name, rows) for name in contract.FIGURES},
        }
    return {"splits": splits, "drift": None if previous is None else drift(previous, recordings)}


def drift(before: Sequence[Row], now: Sequence[Row]) -> dict[str, Any]:
    """Returns how the recordings of two versions differ, figure by figure.

    The distance is the two-sample Kolmogorov-Smirnov statistic over recordings: the largest
    difference between the two cumulative distributions, 0 (the same) to 1 (no overlap).
    """
    old_ids = {row["recording_id"] for row in before}
    new_ids = {row["recording_id"] for row in now}
    figures = {}
    for name in contract.FIGURES:
        old, new = _values(name, before), _values(name, now)
        if not old or not new:
            continue
        distance, p = _distance(old, new)
        figures[name] = {
            "before": _plain(np.median(old)),
            "now": _plain(np.median(new)),
            "distance": _plain(distance),
            "shifted": bool(p < _SHIFT_P and distance > _SHIFT_DISTANCE),
        }
    return {
        "recordings_added": len(new_ids - old_ids),
        "recordings_removed": len(old_ids - new_ids),
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
    return f"{cell['p5']:14.4g}{cell['p50']:10.4g}{cell['p95']:10.4g}"


def _drift_lines(found: Mapping[str, Any]) -> list[str]:
    shifted = [
        f"{name} (median {cell['before']:.4g} -> {cell['now']:.4g}, "
        f"distance {cell['distance']:.2f})"
        for name, cell in found["figures"].items()
        if cell["shifted"]
    ]
    return [
        f"  against the version before: {found['recordings_added']} recordings added, "
        f"{found['recordings_removed']} removed; shifted: {', '.join(shifted) or 'nothing'}"
    ]


def _figure(name: str, rows: Sequence[Row]) -> dict[str, float] | None:
    """Returns mean, std, least, largest over records, percentiles over recordings."""
    sums = [_sums(name, row) for row in rows if _has(name, row)]
    count = sum(row["n_records"] for row in rows if _has(name, row))
    if not count:
        return None
    mean = math.fsum(one[0] for one in sums) / count
    variance = math.fsum(one[1] for one in sums) / count - mean * mean
    found = {
        "records": count,
        "mean": mean,
        "std": math.sqrt(max(0.0, variance)),
        "min": min(one[2] for one in sums),
        "max": max(one[3] for one in sums),
    }
    percentiles = np.percentile(_values(name, rows), _PERCENTILES)
    found |= {f"p{p}": value for p, value in zip(_PERCENTILES, percentiles, strict=True)}
    return {key: value if key == "records" else _plain(value) for key, value in found.items()}


def _has(name: str, row: Row) -> bool:
    return row.get(name) is not None or name in row.get("stretches", ())


def _sums(name: str, row: Row) -> Sequence[float]:
    if name in STRETCH_FIGURES:
        found: Sequence[float] = row["stretches"][name]
        return found
    value, count = float(np.float32(row[name])), row["n_records"]
    return value * count, value * value * count, value, value


def _values(name: str, rows: Iterable[Row]) -> list[float]:
    """Returns one value a recording: its own, or the mean of its records."""
    return [_sums(name, row)[0] / row["n_records"] for row in rows if _has(name, row)]


def _distance(old: Sequence[float], new: Sequence[float]) -> tuple[float, float]:
    from scipy import stats

    found = stats.ks_2samp(old, new)
    return float(found.statistic), float(found.pvalue)


def _plain(value: float) -> float:
    """Returns a number with the digits that a reader can use: the same text on every machine."""
    return float(f"{value:.7g}")
