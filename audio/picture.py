"""Pictures of log-mel spectrograms."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig

# Dynamic range of a picture, dB below its loudest cell.
RANGE_DB = 70.0
# Columns that are drawn; a picture has fewer pixels.
_MAX_COLUMNS = 4000


def spectrogram_png(
    pieces: Sequence[npt.NDArray[np.floating]], config: AudioConfig, *, title: str = ""
) -> bytes:
    """Returns a PNG file of log-mel, in dB below its loudest cell; equal frames give equal bytes.

    Args:
      pieces: Consecutive natural-log mel frames, [n_frames, n_mels] each.
      config: The front end of the frames.
      title: Text above the picture.
    """
    figure, (axes,) = new_figure(9.0, 2.4)
    draw_spectrogram(axes, pieces, config, title=title)
    axes.set_xlabel("seconds")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def draw_spectrogram(
    axes: Any, pieces: Sequence[npt.NDArray[np.floating]], config: AudioConfig, *, title: str
) -> None:
    """Draws log-mel onto matplotlib axes; the other arguments are those of spectrogram_png."""
    n_frames = sum(len(piece) for piece in pieces)
    # Each column of a long recording shows its loudest values, so that onsets stay visible.
    step = -(-n_frames // _MAX_COLUMNS)
    columns = np.concatenate(
        [np.maximum.reduceat(piece, np.arange(0, len(piece), step)) for piece in pieces]
    )
    decibels = columns.T.astype(np.float32) * (10 / np.log(10))
    top = float(decibels.max())
    axes.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=top - RANGE_DB,
        vmax=top,
        extent=(0, n_frames / config.frames_per_second, 0, config.n_mels),
        interpolation="nearest",
    )
    axes.set_ylabel("mel band")
    if title:
        axes.set_title(title, fontsize=9, loc="left")


def new_figure(width: float, height: float, *, rows: int = 1) -> tuple[Any, list[Any]]:
    """Returns a matplotlib figure of a size in inches, and its axes, from top to bottom."""
    # Not pyplot, which keeps global state and looks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, 1, squeeze=False)[:, 0])
