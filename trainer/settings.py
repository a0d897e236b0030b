"""Settings of a training run and of the search before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from audio.errors import UsageError
from audio.settings import Wanted, settings
from storage import files

HeadName = Literal["mse", "mse_frame", "mixture"]
HEADS: tuple[HeadName, ...] = get_args(HeadName)
# Value of warm_start that stands for the last blessed model of a pipeline.
LATEST = "latest"
# Settings that a search may vary: held-out losses of models that differ in these only are
# comparable.
TUNABLE = (
    "batch_windows",
    "dropout",
    "input_noise",
    "learning_rate",
    "n_layers",
    "units",
    "weight_decay",
)

# Fixed parts of the training, which model_info.json records together with the settings.
# Frames of the anchor: a stretch from elsewhere in the same stored stretch, put in front of each
# window to show the mixture head the style of the music.
ANCHOR_FRAMES = 64
# Classes of onset strength that the mixture head predicts.
ONSET_CLASSES = 12
# Weight of the cross-entropy of the onset classes, relative to the likelihood.
ONSET_WEIGHT = 0.25
# How strongly rollouts of the mixture head prefer the onset strength of one beat ago: what the
# log-probability of an onset class loses for each squared deviation from it.
BEAT_WEIGHT = 4.5
# Gaussians of the mixture head.
MIXTURE_COMPONENTS = 4
# Principal components of a frame that the mixture head models; the others stay at their mean.
MIXTURE_DIMS = 64
# Largest global norm of the gradients of a step; longer ones are scaled down to it.
CLIP_NORM = 1.0
# Steps that a TPU takes before it returns to Python.
TPU_STEPS = 80
# Primers that travel with the model.
N_PRIMERS = 32
FIXED = {
    "anchor_frames": ANCHOR_FRAMES,
    "onset_classes": ONSET_CLASSES,
    "onset_weight": ONSET_WEIGHT,
    "beat_weight": BEAT_WEIGHT,
    "mixture_components": MIXTURE_COMPONENTS,
    "mixture_dims": MIXTURE_DIMS,
    "clip_norm": CLIP_NORM,
    "n_primers": N_PRIMERS,
}


@settings("train")
class TrainSettings:
    """Settings of a training run."""

    head: HeadName = "mixture"
    """What the model predicts. mixture is a probability distribution of the next frame, from which
    generation draws. mse is the expected change from the last frame, and mse_frame is the expected
    next frame itself, as in the first version of Nocturne.
    """
    hold: float = Field(default=1.0, ge=0, le=2)
    """How firmly rollouts of the mixture head keep the style of their primer. 0 does not keep it.
    """
    units: int = Field(default=256, ge=1, le=8192)
    """Size of each LSTM layer."""
    n_layers: int = Field(default=1, ge=1, le=16)
    """Number of LSTM layers."""
    dropout: float = Field(default=0.25, ge=0, lt=1)
    """Share of the inputs of each layer that is dropped during training."""
    input_noise: float = Field(default=0.5, ge=0, le=10)
    """Standard deviation of the noise that is added to input frames during training, so that the
    model learns to recover from its own errors. For the mse heads it is in units of normalised
    frames. For the mixture head it is the upper limit, in units of the innovation, which is what
    the previous frame does not predict.
    """
    window_frames: int = Field(default=256, ge=2, le=65536)
    """Frames in one training window. The model reads all but the last."""
    batch_windows: int = Field(default=16, ge=1, le=65536)
    """Windows in one step, over all devices."""
    steps: int = Field(default=320, ge=1, lt=2**31)
    """Number of optimiser steps."""
    eval_every: int = Field(default=80, ge=1, lt=2**31)
    """Steps between two evaluations on the eval split."""
    patience: int = Field(default=0, ge=0, lt=2**31)
    """Training stops after this many evaluations without an improvement. 0 never stops it early."""
    checkpoint_seconds: float = Field(default=300.0, gt=0)
    """Time between two saved states of a running training, in seconds. The state is also saved at
    every evaluation.
    """
    learning_rate: float = Field(default=3e-3, gt=0, le=1)
    """Peak learning rate of AdamW. It warms up, then falls along a cosine."""
    weight_decay: float = Field(default=0.02, ge=0, le=1)
    """Weight decay of AdamW."""
    model_floor: float = Field(default=-8.0, ge=-80, le=0)
    """Log-mel values below this one, in nats, are raised to it before the model reads them. Sounds
    below it are inaudible, but would dominate the statistics.
    """
    strategy: Literal["auto", "cpu", "gpu", "multi_gpu", "multi_worker", "tpu"] = "auto"
    """Devices that training runs on. auto takes what is available."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the matrix products of the LSTM during training. bfloat16 is for a TPU."""
    primer_frames: int = Field(default=64, ge=2, le=1024)
    """Frames in each primer that comes with the model. Too short a primer does not show how the
    music moves.
    """
    warm_start: str = ""
    """Model whose weights training starts from: the folder of a model or, in a pipeline, latest for
    the last blessed one (new weights if there is none). If it is empty, training starts from new
    weights.
    """
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the initial weights, the windows and their order, and the trials of a search."""

    def __post_init__(self) -> None:
        files.check_path(self.warm_start, "train.warm_start")

    @property
    def anchor(self) -> int:
        """Frames of the anchor in front of each window; 0 for a head that uses none."""
        return ANCHOR_FRAMES if self.head == "mixture" else 0

    @property
    def residual(self) -> bool:
        """Whether the mse head predicts the change from the last frame."""
        return self.head != "mse_frame"

    @property
    def steps_per_execution(self) -> int:
        """Steps between two returns to Python."""
        return TPU_STEPS if self.strategy == "tpu" else 1

    def recorded(self) -> dict[str, Any]:
        """Returns the settings and the fixed parts of the training, for model_info.json."""
        computed = {name: getattr(self, name) for name in ("residual", "steps_per_execution")}
        return {**FIXED, **computed, **dataclasses.asdict(self)}


# A few values around the defaults.
_SPACE: dict[str, Sequence[int | float]] = {
    "learning_rate": [1e-3, 3e-3, 1e-2],
    "dropout": [0.1, 0.25, 0.4],
    "units": [192, 256, 384],
}


@settings("tune")
class TuneSettings:
    """Settings of the search for hyperparameters that a training pipeline can run first."""

    trials: int = Field(default=0, ge=0, le=10_000)
    """Number of short trainings that are compared. 0 skips the search."""
    steps: int = Field(default=150, ge=1, lt=2**31)
    """Optimiser steps of each trial."""
    space: Annotated[
        dict[str, Sequence[int | float]], Wanted("one train setting or more, with lists of numbers")
    ] = Field(default_factory=lambda: {**_SPACE}, min_length=1)
    """Values that the trials choose from, by the name of a train setting: batch_windows, dropout,
    input_noise, learning_rate, n_layers, units or weight_decay. Trials that differ in other
    settings have losses that cannot be compared.
    """

    def __post_init__(self) -> None:
        for name, values in self.space.items():
            _check_choices(name, values)


def _check_choices(name: str, values: Sequence[int | float]) -> None:
    if name not in TUNABLE:
        raise UsageError(
            f"tune.space.{name}: wanted one of {', '.join(TUNABLE)}; losses of trials that differ "
            "in anything else do not compare",
            key="tune.space",
        )
    if not values:
        raise UsageError(
            f"tune.space.{name}: wanted values to choose from, got none", key="tune.space"
        )
    for value in values:
        try:
            TrainSettings(**{name: value})  # type: ignore[arg-type]
        except UsageError as error:
            message = str(error).replace("train.", "tune.space.", 1)
            raise UsageError(message, key="tune.space") from None
