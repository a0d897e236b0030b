"""What training can be told."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from audio.errors import UsageError

HEADS = ("mse", "mse_frame", "mixture")
PRECISIONS = ("float32", "bfloat16")
# In place of a path, a warm start from what a pipeline blessed last.
LATEST = "latest"
# What the loss on held-out windows may be compared over: what it is a loss of stays the same.
TUNABLE = (
    "batch_windows",
    "dropout",
    "input_noise",
    "learning_rate",
    "n_layers",
    "units",
    "weight_decay",
)
STRATEGIES = ("auto", "cpu", "gpu", "multi_gpu", "multi_worker", "tpu")

# What follows is no setting, but model_info.json records it among them.
# Frames in front of a window, from elsewhere in the same stored stretch, that show the mixture head
# the style of the music.
ANCHOR_FRAMES = 64
# Classes of onset strength that the mixture head predicts.
ONSET_CLASSES = 12
# Weight of the cross-entropy of the onset classes, relative to the likelihood.
ONSET_WEIGHT = 0.25
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
    "mixture_components": MIXTURE_COMPONENTS,
    "mixture_dims": MIXTURE_DIMS,
    "clip_norm": CLIP_NORM,
    "n_primers": N_PRIMERS,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of one training run.

    Attributes:
      head: what is predicted and how it is scored; see trainer/model/head.py.
      beat_weight: what an onset class loses in rollouts of the mixture head for each squared
        deviation from the onset one beat ago; 0 leaves the beat to what was learnt.
      hold: how firmly rollouts of the mixture head are held near the style of their primer; 0 not
        at all.
      units: size of each LSTM layer.
      n_layers: LSTM layers, one on top of the other.
      dropout: share of each layer's inputs that is dropped while training.
      input_noise: standard deviation of the noise on the frames that the model sees while training:
        in normalised units for the mse head; for the mixture head the most of it, in units of what
        a frame brings that the one before did not tell. A rollout feeds on its own errors; this
        teaches the way back.
      window_frames: frames of one training window; the model sees all but the last.
      batch_windows: windows of one step, over all devices.
      steps: optimiser steps.
      eval_every: steps between evaluations on the eval split; one such stretch is an epoch.
      patience: training stops after this many evaluations without a better one; 0 for never.
      checkpoint_seconds: a running training is saved this often, and at every evaluation.
      learning_rate: AdamW's, at its peak; it warms up, then falls along a cosine.
      weight_decay: AdamW's.
      model_floor: log-mel below this is raised to it before the model sees it, nats; what is
        quieter cannot be heard, but would rule the statistics.
      strategy: which devices; see trainer/fit/devices.py.
      precision: of the LSTM's matrix products while training; `bfloat16` is for a TPU.
      primer_frames: frames of each; one alone would not show how much music moves.
      warm_start: a model to go on from: a folder, or `latest` for the last blessed one of a
        pipeline (for none, where none is blessed yet). Empty for new weights.
      seed: of weights, windows and their order.
    """

    head: str = "mixture"
    beat_weight: float = 4.5
    hold: float = 1.0
    units: int = 256
    n_layers: int = 1
    dropout: float = 0.25
    input_noise: float = 0.5
    window_frames: int = 256
    batch_windows: int = 16
    steps: int = 320
    eval_every: int = 80
    patience: int = 0
    checkpoint_seconds: float = 300.0
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    model_floor: float = -8.0
    strategy: str = "auto"
    precision: str = "float32"
    primer_frames: int = 64
    warm_start: str = ""
    seed: int = 0

    @property
    def anchor(self) -> int:
        """Frames of the anchor in front of each window; 0 for a head that takes none."""
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
        """Returns the settings as model_info.json has them, with what is fixed among them."""
        computed = {name: getattr(self, name) for name in ("residual", "steps_per_execution")}
        return {**FIXED, **computed, **dataclasses.asdict(self)}

    def __post_init__(self) -> None:
        checks = {
            "head": (self.head in HEADS, f"one of {', '.join(HEADS)}"),
            "beat_weight": (0 <= self.beat_weight <= 100, "0 to 100"),
            "hold": (0 <= self.hold <= 2, "0 to 2"),
            "weight_decay": (0 <= self.weight_decay <= 1, "0 to 1"),
            "units": (1 <= self.units <= 8192, "1 to 8192"),
            "n_layers": (1 <= self.n_layers <= 16, "1 to 16"),
            "dropout": (0 <= self.dropout < 1, "0 to below 1"),
            "input_noise": (0 <= self.input_noise <= 10, "0 to 10"),
            "window_frames": (2 <= self.window_frames <= 65536, "2 to 65536"),
            "batch_windows": (1 <= self.batch_windows <= 65536, "1 to 65536"),
            "steps": (self.steps >= 1, "1 or more"),
            "eval_every": (self.eval_every >= 1, "1 or more"),
            "patience": (self.patience >= 0, "0 or more"),
            "checkpoint_seconds": (self.checkpoint_seconds > 0, "above 0"),
            "learning_rate": (0 < self.learning_rate <= 1, "above 0, at most 1"),
            "model_floor": (-80 <= self.model_floor <= 0, "-80 to 0"),
            "strategy": (self.strategy in STRATEGIES, f"one of {', '.join(STRATEGIES)}"),
            "precision": (self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
            "primer_frames": (2 <= self.primer_frames <= 1024, "2 to 1024"),
            "seed": (0 <= self.seed < 2**31, "0 to below 2**31"),
        }
        for name, (ok, wanted) in checks.items():
            if not ok:
                raise UsageError(f"train.{name}: wanted {wanted}, got {getattr(self, name)!r}")


# A few values around the defaults.
_SPACE: dict[str, Sequence[int | float]] = {
    "learning_rate": [1e-3, 3e-3, 1e-2],
    "dropout": [0.1, 0.25, 0.4],
    "units": [192, 256, 384],
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """Settings of a search for hyperparameters, before the training of a pipeline.

    Attributes:
      trials: trainings that are compared; 0 for no search.
      steps: optimiser steps of each.
      space: by the name of a setting of training, the values to choose from.
    """

    trials: int = 0
    steps: int = 150
    space: dict[str, Sequence[int | float]] = dataclasses.field(default_factory=lambda: {**_SPACE})

    def __post_init__(self) -> None:
        checks = {
            "trials": (0 <= self.trials <= 10_000, "0 to 10000"),
            "steps": (self.steps >= 1, "1 or more"),
            "space": (bool(self.space), "one setting of training or more"),
        }
        for name, (ok, wanted) in checks.items():
            if not ok:
                raise UsageError(f"tune.{name}: wanted {wanted}, got {getattr(self, name)!r}")
        for name, values in self.space.items():
            _check_choices(name, values)


def _check_choices(name: str, values: Sequence[int | float]) -> None:
    if name not in TUNABLE:
        raise UsageError(
            f"tune.space.{name}: wanted one of {', '.join(TUNABLE)}; losses of trials that differ "
            "in anything else do not compare"
        )
    if not values:
        raise UsageError(f"tune.space.{name}: wanted values to choose from, got none")
    for value in values:
        if isinstance(getattr(TrainSettings(), name), int) and not isinstance(value, int):
            raise UsageError(f"tune.space.{name}: wanted whole numbers, got {value!r}")
        try:
            TrainSettings(**{name: value})  # type: ignore[arg-type]
        except UsageError as error:
            raise UsageError(str(error).replace("train.", "tune.space.")) from None
