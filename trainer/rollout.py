"""Free running: a model that hears what it said itself."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from trainer.model import NextFrameModel
from trainer.normalise import Normaliser

# Over how many frames the mean is taken that is held near the primer's: 1.5 s at the default hop.
_RECENT_FRAMES = 64.0


def roll_out(
    model: NextFrameModel,
    normaliser: Normaliser,
    primer: tf.Tensor,
    *,
    n_frames: tf.Tensor,
    temperature: tf.Tensor,
    seeds: tf.Tensor,
) -> tf.Tensor:
    """Returns what a model makes of primers, in the graph.

    Args:
      model: a trained model.
      normaliser: the one that it was trained with.
      primer: natural-log mel, float32 [batch, n, n_mels].
      n_frames: int32 [], how many to make.
      temperature: float32 [], scales what is random.
      seeds: int64 [batch]; a clip follows from its own alone, whatever its neighbours.

    Returns:
      Natural-log mel, float32 [batch, n_frames, n_mels].
    """
    head = model.head
    noise = tf.map_fn(
        lambda seed: tf.random.stateless_normal([n_frames, head.n_noise], seed=[seed, 0]),
        seeds,
        fn_output_signature=tf.float32,
    )
    noise = tf.transpose(noise, [1, 0, 2])
    heard = normaliser.apply(primer)
    outputs, state = model.warm_up(heard)
    usual = tf.reduce_mean(heard, axis=1)
    frames = tf.TensorArray(tf.float32, size=n_frames)

    def body(
        index: tf.Tensor, outputs: tf.Tensor, state: Any, recent: tf.Tensor, frames: tf.TensorArray
    ) -> tuple[Any, ...]:
        frame = head.draw(outputs, noise[index], temperature)
        frame = normaliser.limit(frame - head.pull * (recent - usual))
        outputs, state = model.step(frame, state)
        recent += (frame - recent) / _RECENT_FRAMES
        return index + 1, outputs, state, recent, frames.write(index, frame)

    *_, frames = tf.while_loop(
        lambda index, *_: index < n_frames, body, (tf.constant(0), outputs, state, usual, frames)
    )
    log_mel = normaliser.invert(tf.transpose(frames.stack(), [1, 0, 2]))
    return tf.ensure_shape(log_mel, [None, None, model.n_mels])
