"""What TensorBoard shows of a training run: curves, spectrograms, and generated sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from audio import contract
from audio.vocoder import vocode
from trainer.data.normaliser import Normaliser
from trainer.data.windows import Dataset, cut_primers, longest_chunk
from trainer.export.roll_out import roll_out
from trainer.model.head import Sampling
from trainer.model.next_frame import NextFrameModel
from trainer.tf_function import graph_function

# Length of the primer, seconds.
_PRIMER_SECONDS = 1.5
# Length of the rollout after it, seconds; less if no chunk is long enough.
_ROLLOUT_SECONDS = 4.0
# Griffin-Lim iterations of the vocoder; a rough sound is enough.
_ITERATIONS = 8
# Range from white to black in a spectrogram, nats: 60 dB.
_PICTURE_RANGE = 14.0


class TensorBoardWriter:
    """Writes TensorBoard files for one training run into a folder."""

    def __init__(self, folder: str, dataset: Dataset, normaliser: Normaliser) -> None:
        self._folder, self._normaliser, self._audio = folder, normaliser, dataset.audio
        self._real = _cut_real_frames(dataset)
        self._writer: tf.summary.SummaryWriter | None = None
        self._rollout: Callable[..., tf.Tensor] | None = None

    def write(self, model: NextFrameModel, scalars: Mapping[str, float]) -> None:
        """Writes the figures of an evaluation, and a rollout next to the real recording.

        Args:
          model: The model as it is now; the same object in every call.
          scalars: Figures by name, with `step` among them.
        """
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self._folder)
        with self._writer.as_default(step=int(scalars["step"])):
            for name, value in scalars.items():
                if name != "step":
                    tf.summary.scalar(name, value)
            if self._real is not None:
                self._write_rollout(model, self._real)
        self._writer.flush()

    def _write_rollout(self, model: NextFrameModel, real: npt.NDArray[np.float32]) -> None:
        n_primer = self._audio.frames_for(_PRIMER_SECONDS)
        primer = real[:n_primer]
        if self._rollout is None:
            self._rollout = graph_function(
                lambda primer, n_frames: roll_out(
                    model,
                    self._normaliser,
                    primer,
                    n_frames=n_frames,
                    sampling=Sampling.at(model.head.natural_temperature),
                    seeds=tf.zeros([1], tf.int64),
                )
            )
        rollout = self._rollout(tf.constant(primer[None]), tf.constant(len(real) - n_primer))
        generated = np.concatenate([primer, np.asarray(rollout)[0]])
        anchor = np.resize(primer, (model.anchor_frames, real.shape[1]))
        window = self._normaliser.apply(np.concatenate([anchor, real[:-1]])[None])
        next_frames = self._normaliser.invert(model.head.mean(model(window)))[0]
        pictures = {"real": real, "next_frame": np.asarray(next_frames), "free_run": generated}
        for name, frames in pictures.items():
            tf.summary.image(name, _draw_picture(frames, top=float(real.max())))
        rng = np.random.default_rng(0)
        samples = vocode(generated, self._audio, rng=rng, iterations=_ITERATIONS)
        tf.summary.audio("free_run_sound", samples[None, :, None], self._audio.sample_rate)


def _draw_picture(frames: npt.NDArray[np.float32], *, top: float) -> npt.NDArray[np.float32]:
    """Returns log-mel frames [n_frames, n_mels] as a grey picture [1, n_mels, n_frames, 1].

    The lowest band is at the bottom. `top` nats are white, _PICTURE_RANGE less is black.
    """
    grey = np.clip((frames - top) / _PICTURE_RANGE + 1, 0, 1)
    return grey.T[::-1][None, :, :, None].astype(np.float32)


def _cut_real_frames(dataset: Dataset) -> npt.NDArray[np.float32] | None:
    """Returns frames of a recording for primer and rollout, held out if possible.

    None if no chunk is longer than the primer.
    """
    longest = max(longest_chunk(dataset, split) for split in contract.SPLITS)
    n_frames = min(dataset.audio.frames_for(_PRIMER_SECONDS + _ROLLOUT_SECONDS), longest)
    if n_frames <= dataset.audio.frames_for(_PRIMER_SECONDS) + 1:
        return None
    return cut_primers(dataset, n_frames=n_frames, count=1)[0].log_mel
