"""Spectrograms and curves as PNG files."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig

_RANGE_DB = 70.0
_MAX_COLUMNS = 4000  # more than a picture has pixels


def spectrogram_png(
    path: pathlib.Path | BinaryIO,
    log_mel: npt.NDArray[np.float32],
    config: AudioConfig,
    *,
    title: str = "",
) -> None:
    """Draws log-mel frames [n_frames, n_mels] in dB below the loudest cell."""
    figure, (axes,) = _figure(9.0, 2.4)
    _draw(axes, log_mel, config, title=title)
    axes.set_xlabel("seconds")
    figure.savefig(path, format="png")


def comparison_png(
    path: pathlib.Path,
    clips: Mapping[str, npt.NDArray[np.float32]],
    config: AudioConfig,
    *,
    primer_frames: int,
) -> None:
    """Draws clips, by their titles, one above the other, with a line where their primer ends."""
    figure, rows = _figure(9.0, 2.4 * len(clips), rows=len(clips))
    for axes, (title, log_mel) in zip(rows, clips.items(), strict=True):
        _draw(axes, log_mel, config, title=title)
        axes.axvline(primer_frames / config.frames_per_second, color="white", linewidth=1)
    rows[-1].set_xlabel("seconds")
    figure.savefig(path, format="png")


def _draw(axes: Any, log_mel: npt.NDArray[np.float32], config: AudioConfig, *, title: str) -> None:
    # Of a long recording the loudest frame of each column is drawn, so that onsets stay.
    step = -(-len(log_mel) // _MAX_COLUMNS)
    columns = np.maximum.reduceat(log_mel, np.arange(0, len(log_mel), step))
    decibels = columns.T * (10 / np.log(10))
    top = float(decibels.max())
    seconds = len(log_mel) / config.frames_per_second
    axes.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=top - _RANGE_DB,
        vmax=top,
        extent=(0, seconds, 0, config.n_mels),
        interpolation="nearest",
    )
    axes.set_ylabel("mel band")
    if title:
        axes.set_title(title, fontsize=9, loc="left")


def loss_png(path: pathlib.Path, history: dict[str, Any]) -> None:
    """Draws the training and held-out loss of a history.json."""
    figure, (axes,) = _figure(6.0, 2.8)
    rows = history["epochs"]
    steps = [row["step"] for row in rows]
    axes.plot(steps, [row["loss"] for row in rows], marker="o", markersize=3, label="training")
    if "eval_loss" in rows[0]:
        held_out = [row["eval_loss"] for row in rows]
        axes.plot(steps, held_out, marker="o", markersize=3, label="held out")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    if all(row[key] > 0 for row in rows for key in ("loss", "eval_loss") if key in row):
        axes.set_yscale("log")  # a likelihood's logarithm may be negative
    axes.legend()
    figure.savefig(path, format="png")


def _figure(width: float, height: float, *, rows: int = 1) -> tuple[Any, list[Any]]:
    """Returns a figure and its axes, one above the other."""
    # The object interface: pyplot keeps a global state and looks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, 1, squeeze=False)[:, 0])
