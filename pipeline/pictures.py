"""Spectrograms and curves as PNG files."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
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


def comparison_png(
    path: pathlib.Path,
    clips: Mapping[str, npt.NDArray[np.float32]],
    config: AudioConfig,
    *,
    primer_frames: int,
) -> None:
    """Draws clips, by their titles, one above the other, with a line where their primer ends."""
    figure, rows = picture.new_figure(9.0, 2.4 * len(clips), rows=len(clips))
    for axes, (title, log_mel) in zip(rows, clips.items(), strict=True):
        picture.draw_spectrogram(axes, [log_mel], config, title=title)
        axes.axvline(primer_frames / config.frames_per_second, color="white", linewidth=1)
    rows[-1].set_xlabel("seconds")
    figure.savefig(path, format="png")


def loss_png(path: pathlib.Path, history: dict[str, Any]) -> None:
    """Draws the training and held-out loss of a history.json."""
    figure, (axes,) = picture.new_figure(6.0, 2.8)
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
