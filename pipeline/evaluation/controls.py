"""Controls: sounds that are no music, or that any weights would make, to compare a model with.

All of them follow from the dataset, the model's settings and fixed seeds, so their figures are the
same in every evaluation. They are cached below the dataset, in evaluation-cache/.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from audio import contract
from audio.config import AudioConfig
from audio.errors import UnwritableError
from generator.inference import Model
from pipeline.evaluation.next_frame_figures import held_out_nll
from pipeline.evaluation.rollouts import Clips, RolloutSet, measure_clips
from storage import files
from storage.source_code import code_fingerprint
from trainer.data.normaliser import Normaliser
from trainer.data.windows import Dataset
from trainer.export.roll_out import roll_out
from trainer.fit.train import train_in_memory
from trainer.model.head import Sampling
from trainer.model.next_frame import NextFrameModel
from trainer.settings import TrainSettings
from trainer.tf_function import graph_function

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

NOISE: Final = "noise"
FROZEN: Final = "frozen frame"
SHUFFLED_SHORT: Final = "shuffled 0.14 s blocks"
SHUFFLED_LONG: Final = "shuffled 0.5 s blocks"
UNTRAINED: Final = "untrained model"
FEW_STEPS: Final = "model after 6 steps"
# Name of the cached negative log-likelihood of the untrained model, which is no control.
_UNTRAINED_NLL: Final = "untrained nll"

# Folder below a dataset with the figures of its controls.
CACHE: Final = "evaluation-cache"
# The code that the figures of the controls follow from.
_CODE: Final = ("audio", "pipeline.evaluation", "trainer")
# Steps of the model that is hardly trained. Its next-frame error is no better than that of
# repeating the last frame.
N_FEW_STEPS: Final = 6
_SHORT_BLOCK_SECONDS: Final = 0.14
_LONG_BLOCK_SECONDS: Final = 0.5
# Rollouts of the untrained models run in batches of this size.
_BATCH: Final = 8


class Control(NamedTuple):
    """A control as it sounds.

    Attributes:
      name: Its name.
      frames: Natural-log mel [n_clips, n_frames, n_mels].
      nll: Negative log-likelihood of held-out music, nats per frame, if it is a model.
    """

    name: str
    frames: Float32
    nll: float | None = None


class MeasuredControls(NamedTuple):
    """The figures of all controls.

    Attributes:
      clips: The clips of each control, by its name; frames are not kept.
      untrained_nll: Negative log-likelihood of held-out music for the untrained model, nats per
        frame; None if no held-out recording is long enough.
    """

    clips: dict[str, Clips]
    untrained_nll: float | None


def measure_controls(model: Model, dataset: Dataset, rollout_set: RolloutSet) -> MeasuredControls:
    """Returns the figures of all controls.

    Args:
      model: The model that is evaluated.
      dataset: The dataset that it is evaluated on.
      rollout_set: Its rollouts and the real passages; the controls are as many and as long.
    """
    path = f"{dataset.path}/{CACHE}/{_cache_key(model, dataset, rollout_set)}.npz"
    recordings = rollout_set.continuations.recordings
    cached = _read_cache(path)
    if cached is None:
        cached = {}
        for control in make_controls(model, dataset, rollout_set):
            clips = measure_clips(control.frames, rollout_set.audio, recordings)
            cached[control.name] = clips.figures
            if control.name == UNTRAINED and control.nll is not None:
                cached[_UNTRAINED_NLL] = np.array(control.nll)
        _write_cache(path, cached)
    nll = cached.pop(_UNTRAINED_NLL, None)
    empty = np.zeros((0, 0, 0), np.float32)
    clips_of = {
        name: Clips(
            frames=empty, through_vocoder=empty, figures=figures, recordings=tuple(recordings)
        )
        for name, figures in cached.items()
    }
    return MeasuredControls(clips=clips_of, untrained_nll=None if nll is None else float(nll))


def make_controls(model: Model, dataset: Dataset, rollout_set: RolloutSet) -> Iterator[Control]:
    """Yields every control."""
    real = rollout_set.continuations.frames
    n_frames = real.shape[1]
    starts = np.stack([passage.log_mel[:-n_frames] for passage in rollout_set.primers])
    for name, frames in make_signal_controls(
        starts, real, rollout_set.training_passages.frames, rollout_set.audio
    ).items():
        yield Control(name, frames)
    yield from make_model_controls(model, dataset, starts, rollout_set.seeds, n_frames=n_frames)


def _cache_key(model: Model, dataset: Dataset, rollout_set: RolloutSet) -> str:
    """Returns 16 hex digits of all that the controls follow from."""
    known = [
        code_fingerprint(*_CODE),
        dataset.info["dataset_id"],
        dataset.audio.fingerprint,
        dataclasses.asdict(control_settings(model.info["train"])),
        model.info["natural_temperature"],
        rollout_set.seeds,
        [(passage.recording_id, passage.first_frame) for passage in rollout_set.primers],
        rollout_set.continuations.frames.shape,
    ]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _read_cache(path: str) -> dict[str, Float64] | None:
    """Returns cached figures; None if there are none, or they cannot be read."""
    if not files.exists(path):
        return None
    try:
        with files.open_read(path) as file:
            arrays = np.load(io.BytesIO(file.read()), allow_pickle=False)
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _write_cache(path: str, figures: dict[str, Float64]) -> None:
    """Writes figures; a dataset that is read-only stays without them."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **figures)
    try:
        with files.atomic_file(path) as file:
            file.write(buffer.getvalue())
    except UnwritableError:
        return


def make_signal_controls(
    primers: Float32, continuations: Float32, training: Float32, audio: AudioConfig
) -> dict[str, Float32]:
    """Returns controls that need no model.

    Args:
      primers: Natural-log mel in front of each continuation, [n_clips, n, n_mels].
      continuations: How the held-out recordings continue, [n_clips, n_frames, n_mels].
      training: Passages of training recordings, [n_passages, n_frames, n_mels].
      audio: The front end.

    Returns:
      By name, natural-log mel [n_clips, n_frames, n_mels]: noise with the mean and the deviation of
      every band, the last frame of each primer held, and blocks of real frames in random order.
    """
    n_clips, n_frames, n_mels = continuations.shape
    rng = np.random.default_rng(0)
    mean, deviation = continuations.mean(axis=(0, 1)), continuations.std(axis=(0, 1))
    noise = mean + deviation * rng.standard_normal((n_clips, n_frames, n_mels))

    def shuffle(seconds: float) -> Float32:
        size = min(max(1, audio.frames_for(seconds)), training.shape[1])
        whole = training.shape[1] // size * size
        blocks = training[:, :whole].reshape(-1, size, n_mels)
        count = -(-n_frames // size)
        picked = rng.integers(len(blocks), size=(n_clips, count))
        return blocks[picked].reshape(n_clips, count * size, n_mels)[:, :n_frames]

    return {
        NOISE: noise.astype(np.float32),
        FROZEN: np.repeat(primers[:, -1:], n_frames, axis=1),
        SHUFFLED_SHORT: shuffle(_SHORT_BLOCK_SECONDS),
        SHUFFLED_LONG: shuffle(_LONG_BLOCK_SECONDS),
    }


def make_model_controls(
    model: Model, dataset: Dataset, primers: Float32, seeds: Sequence[int], *, n_frames: int
) -> Iterator[Control]:
    """Yields rollouts of the model's own architecture, untrained and after a few steps.

    They use the same settings, Transform graph, sampler and seeds as the model, so figures that the
    sampler imposes on any weights are the same for them.

    Args:
      model: The model that is evaluated.
      dataset: The dataset that it was trained on, or another with the same front end.
      primers: Natural-log mel [n_clips, n, n_mels].
      seeds: One seed a rollout.
      n_frames: Length of each rollout.
    """
    settings = control_settings(model.info["train"])
    normaliser = Normaliser.from_graph(
        f"{model.path}/{contract.TRANSFORM_GRAPH}", floor=settings.model_floor
    )
    run = None
    for name, network in zip(
        (UNTRAINED, FEW_STEPS),
        train_in_memory(dataset, normaliser, settings, pauses=(0, N_FEW_STEPS)),
        strict=True,
    ):
        run = run or _compiled_rollout(network, normaliser, model.info["natural_temperature"])
        pieces = []
        for start in range(0, len(seeds), _BATCH):
            rows = np.resize(np.arange(start, min(start + _BATCH, len(seeds))), _BATCH)
            rollouts = run(
                tf.constant(primers[rows]),
                tf.constant(n_frames, tf.int32),
                tf.constant(np.asarray(seeds, np.int64)[rows]),
            )
            pieces.append(rollouts.numpy()[: len(seeds) - start])
        nll = None
        if name == UNTRAINED:
            nll = held_out_nll(network, normaliser, dataset, settings)
        yield Control(name, np.concatenate(pieces), nll)


def control_settings(recorded: dict[str, Any]) -> TrainSettings:
    """Returns the settings of the models that serve as controls, for a model's own settings."""
    known = {field.name for field in dataclasses.fields(TrainSettings)}
    own = {name: value for name, value in recorded.items() if name in known}
    return TrainSettings(
        **{
            **own,
            "steps": N_FEW_STEPS,
            "eval_every": N_FEW_STEPS,
            "warm_start": "",
            "strategy": "auto",
            "seed": 0,
        }
    )


def _compiled_rollout(
    network: NextFrameModel, normaliser: Normaliser, temperature: float
) -> tf.types.experimental.PolymorphicFunction:
    """Returns a compiled rollout of the network, with the weights that it has when called."""

    def run(primer: tf.Tensor, n_frames: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        return roll_out(
            network,
            normaliser,
            primer,
            n_frames=n_frames,
            sampling=Sampling(tf.constant(temperature), tf.constant(temperature), tf.constant(0.0)),
            seeds=seeds,
        )

    return graph_function(run)
