"""The data card: figures that describe the sound of a dataset, and their drift between versions.

The figures of a split are over its records, as in TFX's StatisticsGen, so that both agree. The
percentiles are over recordings. Each row of recordings.jsonl has the sums over the recording's
records, so no record needs to be read again.
"""

from __future__ import annotations

import array
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from audio import contract
from beam_transforms.extract import ExtractedRecording

Row = Mapping[str, Any]

STRETCH_FIGURES = tuple(n for n in contract.FIGURES if n not in contract.RECORDING_FIGURES)
_PERCENTILES = (5, 50, 95)
# A figure has shifted if a difference by chance is less likely than this, ...
_SHIFT_P = 0.01
# ... and if the Kolmogorov-Smirnov distance is above this, so that people would hear it.
_SHIFT_DISTANCE = 0.2


def summarize_chunks(recording: ExtractedRecording) -> dict[str, list[float]]:
    """Returns sum, sum of squares, minimum and maximum of each figure over a recording's chunks."""
    rows = [dataclasses.asdict(chunk.figures) for chunk in recording.chunks]
    columns = {name: [float(np.float32(row[name])) for row in rows] for name in STRETCH_FIGURES}
    return {
        name: [sum(column), sum(x * x for x in column), min(column), max(column)]
        for name, column in columns.items()
    }


def data_card(
    recordings: Iterable[Row], *, previous: Iterable[Row] | None = None
) -> dict[str, Any]:
    """Returns the figures of each split, what is missing, and the drift since an earlier version.

    Args:
      recordings: Rows of recordings.jsonl. They are read once and not kept in memory.
      previous: Rows of the earlier version; None if there is none.
    """
    statistics = {split: _Statistics() for split in contract.SPLITS}
    for row in recordings:
        statistics[row["split"]].add(row)
    splits = {
        split: {
            "recordings": len(split_statistics.ids),
            "records": split_statistics.n_records,
            "seconds": round(sum(split_statistics.values(contract.DURATION_SECONDS)), 3),
            "figures": {name: split_statistics.summary(name) for name in contract.FIGURES},
        }
        for split, split_statistics in statistics.items()
    }
    drift = None if previous is None else _drift(previous, list(statistics.values()))
    lost = [seconds for each in statistics.values() for seconds in each.lost_seconds]
    known = [seconds for seconds in lost if seconds is not None]
    damaged = {
        "recordings": len(lost),
        "lost_seconds": round(sum(known), 3),
        "of_unknown_length": len(lost) - len(known),
    }
    return {"splits": splits, "damaged": damaged, "drift": drift}


class _Statistics:
    """Statistics of the figures of many recordings."""

    def __init__(self) -> None:
        self.ids: set[bytes] = set()
        self.n_records = 0
        self.lost_seconds: list[float | None] = []  # of damaged recordings
        self._columns = {name: _Column() for name in contract.FIGURES}

    def add(self, row: Row) -> None:
        """Adds a recording, as a row of recordings.jsonl."""
        self.ids.add(bytes.fromhex(row["recording_id"]))
        self.n_records += row["n_records"]
        if row.get("lost_seconds", 0.0) != 0:
            self.lost_seconds.append(row["lost_seconds"])
        for name, column in self._columns.items():
            if name in STRETCH_FIGURES and "stretches" in row:
                column.add(row["n_records"], *row["stretches"][name])
            elif row.get(name) is not None:
                # The records have it in single precision.
                value, count = float(np.float32(row[name])), row["n_records"]
                column.add(count, value * count, value * value * count, value, value)

    def values(self, name: str) -> Sequence[float]:
        """Returns one value for each recording: its own, or the mean of its records."""
        return self._columns[name].means

    def summary(self, name: str) -> dict[str, float] | None:
        """Returns mean, std, min and max of a figure over records, percentiles over recordings."""
        column = self._columns[name]
        if not column.count:
            return None
        mean = column.total / column.count
        variance = column.squares / column.count - mean * mean
        percentiles = np.percentile(column.means, _PERCENTILES)
        summary = {
            "mean": mean,
            "std": math.sqrt(max(0.0, variance)),
            "min": column.least,
            "max": column.largest,
            **{f"p{p}": value for p, value in zip(_PERCENTILES, percentiles, strict=True)},
        }
        return {"records": column.count, **{key: _round(value) for key, value in summary.items()}}


class _Column:
    """Sums over one figure of many recordings."""

    def __init__(self) -> None:
        self.means = array.array("d")
        self.count = 0
        self.total = self.squares = 0.0
        self.least, self.largest = math.inf, -math.inf

    def add(self, count: int, total: float, squares: float, least: float, largest: float) -> None:
        """Adds a recording: count, sum, sum of squares, minimum and maximum over its records."""
        self.means.append(total / count)
        self.count += count
        self.total += total
        self.squares += squares
        self.least, self.largest = min(self.least, least), max(self.largest, largest)


def _drift(previous: Iterable[Row], splits: Sequence[_Statistics]) -> dict[str, Any]:
    """Returns how the recordings of two versions differ, figure by figure.

    The distance is the two-sample Kolmogorov-Smirnov statistic over recordings: the largest
    difference between the two cumulative distributions, 0 (the same) to 1 (no overlap).
    """
    from scipy import stats

    old = _Statistics()
    for row in previous:
        old.add(row)
    figures = {}
    for name in contract.FIGURES:
        before = old.values(name)
        now = np.concatenate([split.values(name) for split in splits])
        if not len(before) or not len(now):
            continue
        test = stats.ks_2samp(before, now)
        figures[name] = {
            "before": _round(np.median(before)),
            "now": _round(np.median(now)),
            "distance": _round(test.statistic),
            "shifted": bool(test.pvalue < _SHIFT_P and test.statistic > _SHIFT_DISTANCE),
        }
    ids = set().union(*(split.ids for split in splits))
    return {
        "recordings_added": len(ids - old.ids),
        "recordings_removed": len(old.ids - ids),
        "figures": figures,
    }


def format_card(card: Mapping[str, Any]) -> list[str]:
    """Returns a data card as lines of text."""
    lines = [f"  {'':<18}" + "".join(f"{split:>34}" for split in card["splits"])]
    lines.append(
        f"  {'':<18}" + "".join(f"{'p5':>14}{'median':>10}{'p95':>10}" for _ in card["splits"])
    )
    for name in contract.FIGURES:
        cells = [split["figures"][name] for split in card["splits"].values()]
        if any(cell is not None for cell in cells):
            lines.append(f"  {name:<18}" + "".join(_format_cell(cell) for cell in cells))
    lines += format_damaged(card)
    return lines + (_format_drift(card["drift"]) if card["drift"] else [])


def format_damaged(card: Mapping[str, Any]) -> list[str]:
    """Returns what the recordings lack as a line of text; nothing if they are whole."""
    # Cards of earlier versions do not say it.
    damaged = card.get("damaged", {"recordings": 0})
    if not damaged["recordings"]:
        return []
    unknown = damaged["of_unknown_length"]
    return [
        f"  damaged: {damaged['recordings']} of the recordings, without about "
        f"{damaged['lost_seconds']:.2f} s of their sound"
        + (f"; of {unknown} of them, nobody knows how much is missing" if unknown else "")
        + f" (lost_seconds in {contract.RECORDINGS})"
    ]


def _format_cell(cell: Mapping[str, float] | None) -> str:
    if cell is None:
        return f"{'-':>14}{'-':>10}{'-':>10}"
    p5, median, p95 = (format_figure(cell[name]) for name in ("p5", "p50", "p95"))
    return f"{p5:>14}{median:>10}{p95:>10}"


def format_figure(value: float) -> str:
    """Returns a figure with three significant digits, or as a whole number from 1000 on."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _format_drift(drift: Mapping[str, Any]) -> list[str]:
    shifted = [
        f"{name} (median {format_figure(cell['before'])} -> {format_figure(cell['now'])}, "
        f"distance {cell['distance']:.2f})"
        for name, cell in drift["figures"].items()
        if cell["shifted"]
    ]
    return [
        f"  compared with the previous version: {drift['recordings_added']} recordings added, "
        f"{drift['recordings_removed']} removed; shifted: {', '.join(shifted) or 'nothing'}"
    ]


def _round(value: float) -> float:
    """Returns a number with seven significant digits, whose text is the same on every machine."""
    return float(f"{value:.7g}")
