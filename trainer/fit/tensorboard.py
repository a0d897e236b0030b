"""What a running training shows in TensorBoard: curves, pictures, and what it sounds like."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from audio import contract
from audio.errors import InputError
from audio.vocoder import vocode
from trainer.data.normaliser import Normaliser
from trainer.data.windows import Dataset, cut_primers, longest_chunk
from trainer.export.roll_out import roll_out
from trainer.model.head import Sampling
from trainer.model.next_frame import NextFrameModel
from trainer.tf_function import graph_function

_PRIMER_SECONDS, _SECONDS, _ITERATIONS = 1.5, 4.0, 8
_RANGE_NATS = 14.0  # of a picture: 60 dB


class TensorBoardWriter:
    """Writes TensorBoard's files.

    Args:
      folder: where they go.
      dataset: whose eval split the primers are from.
      normaliser: of the run.
    """

    def __init__(self, folder: str, dataset: Dataset, normaliser: Normaliser) -> None:
        self._folder, self._normaliser, self._audio = folder, normaliser, dataset.audio
        self._real = _a_real_stretch(dataset)
        self._writer: tf.summary.SummaryWriter | None = None
        self._run: Callable[..., tf.Tensor] | None = None

    def show(self, model: NextFrameModel, scalars: Mapping[str, float]) -> None:
        """Writes the figures of an evaluation, and a free run beside the real recording.

        Args:
          model: the run's, as it is now; the same one each time.
          scalars: by name; `step` is one of them.
        """
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self._folder)
        step = int(scalars["step"])
        with self._writer.as_default(step=step):
            for name, value in scalars.items():
                if name != "step":
                    tf.summary.scalar(name, value)
            if self._real is not None:
                self._show_free_run(model, self._real)
        self._writer.flush()

    def _show_free_run(self, model: NextFrameModel, real: npt.NDArray[np.float32]) -> None:
        heard = self._audio.frames_for(_PRIMER_SECONDS)
        if self._run is None:
            self._run = _free_run(model, self._normaliser)
        primer, n_frames = tf.constant(real[None, :heard]), tf.constant(len(real) - heard)
        made = np.asarray(self._run(primer, n_frames))[0]
        made = np.concatenate([real[:heard], made])
        anchor = np.resize(real[:heard], (model.anchor_frames, real.shape[1]))
        whole = np.concatenate([anchor, real[:-1]])[None]
        expected = self._normaliser.invert(model.head.mean(model(self._normaliser.apply(whole))))[0]
        pictures = {"real": real, "next_frame": np.asarray(expected), "free_run": made}
        for name, frames in pictures.items():
            tf.summary.image(name, _picture(frames, top=float(real.max())))
        rng = np.random.default_rng(0)
        samples = vocode(made, self._audio, rng=rng, iterations=_ITERATIONS)
        tf.summary.audio("free_run_sound", samples[None, :, None], self._audio.sample_rate)


def _free_run(model: NextFrameModel, normaliser: Normaliser) -> Callable[..., tf.Tensor]:
    """Returns what rolls the model out, as it is when it is called."""

    def run(primer: tf.Tensor, n_frames: tf.Tensor) -> tf.Tensor:
        return roll_out(
            model,
            normaliser,
            primer,
            n_frames=n_frames,
            sampling=Sampling.at(model.head.natural_temperature),
            seeds=tf.zeros([primer.shape[0]], tf.int64),
        )

    return graph_function(run)


def _picture(frames: npt.NDArray[np.float32], *, top: float) -> npt.NDArray[np.float32]:
    """Returns frames [n_frames, n_mels] as a grey picture [1, n_mels, n_frames, 1], bass down."""
    grey = np.clip((frames - top) / _RANGE_NATS + 1, 0, 1)
    return grey.T[::-1][None, :, :, None].astype(np.float32)


def _a_real_stretch(dataset: Dataset) -> npt.NDArray[np.float32] | None:
    """Returns frames of a held-out recording (of a training one where none is), or None."""
    wanted = dataset.audio.frames_for(_PRIMER_SECONDS + _SECONDS)
    longest = max(longest_chunk(dataset, split) for split in contract.SPLITS)
    n_frames = min(wanted, longest)
    if n_frames <= dataset.audio.frames_for(_PRIMER_SECONDS) + 1:
        return None
    try:
        return cut_primers(dataset, n_frames=n_frames, count=1)[0].log_mel.astype(np.float32)
    except InputError:
        return None
