"""Free running: a model that hears what it said itself."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from trainer.data.normaliser import Normaliser
from trainer.model.head import Sampling
from trainer.model.next_frame import NextFrameModel
from trainer.style.control import StyleControl
from trainer.style.statistics import Style
from trainer.tf_function import graph_function

# Frames that are compiled as one, and a step of the walk of styles: with another number all clips
# are others. Nine times as many are ten seconds at the default hop.
_STRETCH_FRAMES = 48


def roll_out(
    model: NextFrameModel,
    normaliser: Normaliser,
    primer: tf.Tensor,
    *,
    anchor: tf.Tensor | None = None,
    n_frames: tf.Tensor,
    sampling: Sampling,
    seeds: tf.Tensor,
) -> tf.Tensor:
    """Returns what a model makes of primers, in the graph.

    Args:
      model: a trained model.
      normaliser: the one that it was trained with.
      primer: natural-log mel, float32 [batch, n, n_mels].
      anchor: shows the style that is kept, natural-log mel [batch, m, n_mels]; the primer itself
        unless given.
      n_frames: int32 [], how many to make.
      sampling: how frames are drawn.
      seeds: int64 [batch]; a clip follows from its own alone, whatever its neighbours.

    Returns:
      Natural-log mel, float32 [batch, n_frames, n_mels].
    """
    head = model.head
    # Whole stretches are drawn and made, and what is beyond n_frames is cut off.
    n_stretches = -(-n_frames // _STRETCH_FRAMES)
    noise = tf.map_fn(
        lambda seed: tf.random.stateless_normal(
            [n_stretches * _STRETCH_FRAMES, head.n_noise], seed=[seed, 0]
        ),
        seeds,
        fn_output_signature=tf.float32,
    )
    noise = tf.transpose(noise, [1, 0, 2])
    heard = normaliser.apply(primer)
    style = heard if anchor is None else normaliser.apply(anchor)
    outputs, state = graph_function(model.warm_up, jit_compile=True)(heard, style)
    joined = model.lstm.stacked_kernels()
    control = StyleControl(head.hold, model.style_drift, normaliser, style)
    # One step a stretch.
    walks = model.style_drift.random_walks(seeds, n_steps=n_stretches, step_frames=_STRETCH_FRAMES)
    recent = control.begin(heard, control.wanted(walks[0]))
    # What goes from frame to frame: outputs, the model's state, what was heard of late, the last
    # frame.
    carried: tuple[Any, ...] = (outputs, state, recent, heard[:, -1])

    def next_frame(noise: tf.Tensor, wanted: Style, carried: tuple[Any, ...]) -> tuple[Any, ...]:
        outputs, state, recent, last = carried
        frame = head.draw(outputs, noise, sampling, change=control.change(wanted, recent))
        frame = normaliser.limit(control.frame(frame, wanted, recent))
        outputs, state = model.step(frame, state, joined)
        return outputs, state, control.after(recent, frame, last), frame

    # XLA wants to know how many frames there are, and takes seconds for each number of them.
    @graph_function(jit_compile=True)
    def stretch(
        noise: tf.Tensor, away: tf.Tensor, carried: tuple[Any, ...]
    ) -> tuple[tf.Tensor, tuple[Any, ...]]:
        wanted = control.wanted(away)

        def body(
            index: tf.Tensor, carried: tuple[Any, ...], frames: tf.TensorArray
        ) -> tuple[Any, ...]:
            carried = next_frame(noise[index], wanted, carried)
            return index + 1, carried, frames.write(index, carried[-1])

        frames = tf.TensorArray(tf.float32, size=_STRETCH_FRAMES)
        _, carried, frames = tf.while_loop(
            lambda index, *_: index < _STRETCH_FRAMES,
            body,
            (tf.constant(0), carried, frames),
            maximum_iterations=_STRETCH_FRAMES,
        )
        return frames.stack(), carried

    def body(index: tf.Tensor, carried: tuple[Any, ...], made: tf.TensorArray) -> tuple[Any, ...]:
        piece = noise[index * _STRETCH_FRAMES : (index + 1) * _STRETCH_FRAMES]
        piece = tf.ensure_shape(piece, [_STRETCH_FRAMES, None, head.n_noise])
        frames, carried = stretch(piece, walks[index], carried)
        return index + 1, carried, made.write(index, frames)

    made = tf.TensorArray(
        tf.float32, size=n_stretches, element_shape=[_STRETCH_FRAMES, None, model.n_mels]
    )
    *_, made = tf.while_loop(
        lambda index, *_: index < n_stretches, body, (tf.constant(0), carried, made)
    )
    log_mel = normaliser.invert(tf.transpose(made.concat()[:n_frames], [1, 0, 2]))
    return tf.ensure_shape(log_mel, [None, None, model.n_mels])
