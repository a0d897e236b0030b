"""Untrained models for frames of twelve bands, and such frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tests.support.tiny import TINY
from trainer.model.next_frame import NextFrameModel
from trainer.settings import HeadName

N_MELS = 12


def wandering_frames(batch: int = 64, n_frames: int = 50, seed: int = 0) -> np.ndarray:
    """Correlated bands that wander around a mean: [batch, n_frames, N_MELS]."""
    mixing = np.random.default_rng(99).normal(size=(N_MELS, N_MELS))
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(batch, N_MELS))
    frames = []
    for _ in range(n_frames):
        state = 0.9 * state + np.sqrt(1 - 0.81) * rng.normal(size=(batch, N_MELS))
        frames.append(state @ mixing + 3)
    return np.stack(frames, axis=1).astype(np.float32)


def small_model(head: HeadName, parts: Mapping[str, Any] = {}, **settings: Any) -> NextFrameModel:
    """A model adapted to wandering frames.

    Args:
      head: Name of the head.
      parts: Arguments of NextFrameModel that are not settings.
      **settings: Settings other than those of TINY.
    """
    keras.utils.set_random_seed(1)
    model = NextFrameModel(
        n_mels=N_MELS,
        settings=dataclasses.replace(TINY, head=head, **settings),
        **{"anchor_frames": 30 if head == "mixture" else 0, **parts},
    )
    frames = wandering_frames()
    model.adapt([np.concatenate([frames[:, : model.anchor_frames], frames], axis=1)])
    return model
