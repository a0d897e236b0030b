"""Free-running generation: a model is fed the frames that it generated itself."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from trainer.data.normaliser import Normaliser
from trainer.model.head import Sampling
from trainer.model.next_frame import NextFrameModel
from trainer.style.control import StyleControl
from trainer.style.statistics import Style
from trainer.tf_function import graph_function

# Frames that are compiled together, and the length of a step of the style's random walk. Changing
# this number changes every generated clip. Nine blocks are ten seconds at the default hop.
_BLOCK_FRAMES = 48


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
    """Continues primers inside the current TensorFlow graph.

    Args:
      model: A trained model.
      normaliser: The normaliser that it was trained with.
      primer: Natural-log mel, float32 [batch, n, n_mels].
      anchor: Natural-log mel that shows the style to keep, [batch, m, n_mels]; by default the
        primer.
      n_frames: Number of frames to generate, int32 [].
      sampling: How frames are drawn.
      seeds: int64 [batch]; a clip depends on its own seed alone, not on others in the batch.

    Returns:
      Natural-log mel, float32 [batch, n_frames, n_mels].
    """
    head = model.head
    # Whole blocks are generated, and frames beyond n_frames are cut off.
    n_blocks = -(-n_frames // _BLOCK_FRAMES)
    noise = tf.map_fn(
        lambda seed: tf.random.stateless_normal(
            [n_blocks * _BLOCK_FRAMES, head.n_noise], seed=[seed, 0]
        ),
        seeds,
        fn_output_signature=tf.float32,
    )
    noise = tf.transpose(noise, [1, 0, 2])
    primer = normaliser.apply(primer)
    anchor = primer if anchor is None else normaliser.apply(anchor)
    outputs, state = graph_function(model.warm_up, jit_compile=True)(primer, anchor)
    kernels = model.lstm.stacked_kernels()
    control = StyleControl(head.hold, model.style_drift, normaliser, anchor)
    drifts = model.style_drift.random_walks(seeds, n_steps=n_blocks, step_frames=_BLOCK_FRAMES)
    recent = control.start(primer, control.target_style(drifts[0]))
    # Carried from frame to frame: outputs, model state, recent style, the last frame.
    carried: tuple[Any, ...] = (outputs, state, recent, primer[:, -1])

    def next_frame(noise: tf.Tensor, target: Style, carried: tuple[Any, ...]) -> tuple[Any, ...]:
        outputs, state, recent, previous = carried
        frame = head.draw(outputs, noise, sampling, control.change_scale(target, recent))
        frame = normaliser.limit(control.correct(frame, target, recent))
        outputs, state = model.step(frame, state, kernels)
        return outputs, state, control.update(recent, frame, previous), frame

    # XLA needs a fixed number of frames, and takes seconds to compile for each number.
    @graph_function(jit_compile=True)
    def generate_block(
        noise: tf.Tensor, drift: tf.Tensor, carried: tuple[Any, ...]
    ) -> tuple[tf.Tensor, tuple[Any, ...]]:
        target = control.target_style(drift)

        def body(
            index: tf.Tensor, carried: tuple[Any, ...], frames: tf.TensorArray
        ) -> tuple[Any, ...]:
            carried = next_frame(noise[index], target, carried)
            return index + 1, carried, frames.write(index, carried[-1])

        frames = tf.TensorArray(tf.float32, size=_BLOCK_FRAMES)
        _, carried, frames = tf.while_loop(
            lambda index, *_: index < _BLOCK_FRAMES,
            body,
            (tf.constant(0), carried, frames),
            maximum_iterations=_BLOCK_FRAMES,
        )
        return frames.stack(), carried

    def body(index: tf.Tensor, carried: tuple[Any, ...], blocks: tf.TensorArray) -> tuple[Any, ...]:
        block_noise = noise[index * _BLOCK_FRAMES : (index + 1) * _BLOCK_FRAMES]
        block_noise = tf.ensure_shape(block_noise, [_BLOCK_FRAMES, None, head.n_noise])
        frames, carried = generate_block(block_noise, drifts[index], carried)
        return index + 1, carried, blocks.write(index, frames)

    blocks = tf.TensorArray(
        tf.float32, size=n_blocks, element_shape=[_BLOCK_FRAMES, None, model.n_mels]
    )
    *_, blocks = tf.while_loop(
        lambda index, *_: index < n_blocks, body, (tf.constant(0), carried, blocks)
    )
    log_mel = normaliser.invert(tf.transpose(blocks.concat()[:n_frames], [1, 0, 2]))
    return tf.ensure_shape(log_mel, [None, None, model.n_mels])
