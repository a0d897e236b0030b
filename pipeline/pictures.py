"""Spectrograms and curves as PNG files."""

from __future__ import annotations

import pathlib
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from audio import picture
from audio.config import AudioConfig


def spectrogram_png(
    path: pathlib.Path | BinaryIO,
    log_mel: npt.NDArray[np.float32],
    config: AudioConfig,
    *,
    title: str = "",
) -> None:
    """Writes a picture of log-mel frames [n_frames, n_mels]."""
    content = picture.spectrogram_png([log_mel], config, title=title)
    if isinstance(path, pathlib.Path):
        path.write_bytes(content)
    else:
        path.write(content)


def loss_png(path: pathlib.Path, history: dict[str, Any]) -> None:
    """Draws the training and held-out loss of a history.json."""
    figure, axes = picture.new_figure(6.0, 2.8)
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
