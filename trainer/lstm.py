"""Stacked LSTM over a window of frames, and the same over one frame with carried state.

On a CPU the window call is 1.5 to 2.4 times as fast as Keras's (benchmarks/README.md): the input
projection of all frames is one matrix product before the loop, and a hand-written gradient keeps
the gates of the forward pass, so that the weights' gradients are one product each after the loop.
A test holds forward and gradients against keras.layers.LSTM, whose weights it shares.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

# Per layer (hidden, cell), each float32 [batch, units].
State = tuple[tuple[tf.Tensor, tf.Tensor], ...]


@keras.saving.register_keras_serializable(package="nocturne")
class FusedLSTM(keras.layers.Layer):
    """One LSTM layer with the weights, gate order and numbers of keras.layers.LSTM.

    References:
      Hochreiter and Schmidhuber, "Long short-term memory", 1997.
      Appleyard et al., "Optimizing performance of recurrent neural networks on GPUs", 2016: the
        input projection outside the loop.
    """

    def __init__(self, units: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights for frames of input_shape[-1] features."""
        gates = 4 * self.units
        self.kernel = self.add_weight(
            shape=(input_shape[-1], gates), initializer="glorot_uniform", name="kernel"
        )
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, gates), initializer="orthogonal", name="recurrent_kernel"
        )
        self.bias = self.add_weight(shape=(gates,), initializer=_forget_bias, name="bias")
        self.built = True

    def call(self, frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs a window from a zero state.

        Args:
          frames: float32 [n_frames, batch, n]: time first.

        Returns:
          Hidden frames [n_frames, batch, units], and the cell after the last one [batch, units].
        """
        weights = (self.kernel, self.recurrent_kernel, self.bias)
        return _lstm(frames, *(tf.convert_to_tensor(weight) for weight in weights))

    def step(
        self, frame: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs one frame [batch, n]; returns the new hidden and cell [batch, units]."""
        gates = tf.matmul(frame, self.kernel) + tf.matmul(hidden, self.recurrent_kernel) + self.bias
        return _update(gates, cell)[:2]

    def get_config(self) -> dict[str, object]:
        """Returns what the constructor wants."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="nocturne")
class StackedLSTM(keras.layers.Layer):
    """LSTM layers, one on top of the other; window call and step share weights."""

    def __init__(self, units: int, n_layers: int, *, dropout: float = 0.0, **kwargs: object):
        super().__init__(**kwargs)
        self.units, self.n_layers, self.dropout = units, n_layers, dropout
        self.stack = [FusedLSTM(units, name=f"lstm_{index}") for index in range(n_layers)]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights for frames of input_shape[-1] features."""
        n = input_shape[-1]
        for layer in self.stack:
            layer.build((None, None, n))
            n = self.units
        self.built = True

    def call(self, frames: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tf.Tensor:
        """Returns hidden frames [batch, n_frames, units] for frames [batch, n_frames, n]."""
        return self.unroll(frames, dropout_seed)[0]

    def unroll(
        self, frames: tf.Tensor, dropout_seed: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, State]:
        """Runs a window from a zero state.

        Args:
          frames: float32 [batch, n_frames, n].
          dropout_seed: int64 [2] that the dropout on each layer's input is drawn from; None for no
            dropout. Equal seeds drop the same, so that a training step can be taken again.

        Returns:
          Hidden frames [batch, n_frames, units], and the state after the last one.
        """
        state = []
        frames = tf.transpose(frames, [1, 0, 2])
        for index, layer in enumerate(self.stack):
            if dropout_seed is not None and self.dropout:
                seed = tf.random.experimental.stateless_fold_in(dropout_seed, index)
                frames = tf.nn.experimental.stateless_dropout(frames, self.dropout, seed)
            frames, cell = layer(frames)
            state.append((frames[-1], cell))
        return tf.transpose(frames, [1, 0, 2]), tuple(state)

    def step(self, frame: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Runs one frame float32 [batch, n]; returns the hidden frame and the new state."""
        after = []
        for layer, (hidden, cell) in zip(self.stack, state, strict=True):
            frame, cell = layer.step(frame, hidden, cell)
            after.append((frame, cell))
        return frame, tuple(after)

    def get_config(self) -> dict[str, object]:
        """Returns what the constructor wants."""
        own = {"units": self.units, "n_layers": self.n_layers, "dropout": self.dropout}
        return {**super().get_config(), **own}


def _forget_bias(shape: tuple[int, ...], dtype: object) -> tf.Tensor:
    """Zeros, but ones for the forget gate (Jozefowicz et al., 2015), as Keras does."""
    units = shape[0] // 4
    parts = [tf.zeros([units]), tf.ones([units]), tf.zeros([2 * units])]
    return tf.cast(tf.concat(parts, axis=0), dtype)


def _update(gates: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns hidden, cell, and the four gates after their functions [batch, 4 * units]."""
    take, keep, new, give = tf.split(gates, 4, axis=1)
    take, keep, new, give = tf.sigmoid(take), tf.sigmoid(keep), tf.tanh(new), tf.sigmoid(give)
    cell = keep * cell + take * new
    return give * tf.tanh(cell), cell, tf.concat([take, keep, new, give], axis=1)


@tf.custom_gradient
def _lstm(
    frames: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor
) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tuple[tf.Tensor, ...]]]:
    hidden, cells, gates = _forward(frames, kernel, recurrent, bias)

    def gradient(d_hidden: tf.Tensor, d_last_cell: tf.Tensor) -> tuple[tf.Tensor, ...]:
        saved = (frames, kernel, recurrent, hidden, cells, gates)
        return _backward(d_hidden, d_last_cell, *saved)

    return (hidden, cells[-1]), gradient


def _forward(
    frames: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns hidden, cells and gates of all frames, time first."""
    units = recurrent.shape[0]
    n_frames, batch = tf.shape(frames)[0], tf.shape(frames)[1]
    flat = tf.reshape(frames, [n_frames * batch, kernel.shape[0]])
    projected = tf.reshape(tf.matmul(flat, kernel) + bias, [n_frames, batch, 4 * units])
    arrays = tuple(tf.TensorArray(tf.float32, n_frames) for _ in range(3))

    def body(t: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor, *kept: tf.TensorArray) -> tuple:
        hidden, cell, gates = _update(projected[t] + tf.matmul(hidden, recurrent), cell)
        values = (hidden, cell, gates)
        return t + 1, hidden, cell, *(a.write(t, v) for a, v in zip(kept, values, strict=True))

    zero = tf.zeros([batch, units])
    _, _, _, *kept = tf.while_loop(
        lambda t, *_: t < n_frames,
        body,
        (tf.constant(0), zero, zero, *arrays),
        maximum_iterations=n_frames,
    )
    hidden, cells, gates = (array.stack() for array in kept)
    return hidden, cells, gates


def _backward(
    d_hidden: tf.Tensor,
    d_last_cell: tf.Tensor,
    frames: tf.Tensor,
    kernel: tf.Tensor,
    recurrent: tf.Tensor,
    hidden: tf.Tensor,
    cells: tf.Tensor,
    gates: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    """Returns the gradients of frames, kernel, recurrent kernel and bias."""
    units = recurrent.shape[0]
    n_frames, batch = tf.shape(frames)[0], tf.shape(frames)[1]
    zero = tf.zeros([1, batch, units])
    cells_before = tf.concat([zero, cells[:-1]], axis=0)
    recurrent_t = tf.transpose(recurrent)

    def body(
        index: tf.Tensor, d_h: tf.Tensor, d_c: tf.Tensor, kept: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.TensorArray]:
        t = n_frames - 1 - index
        take, keep, new, give = tf.split(gates[t], 4, axis=1)
        squashed = tf.tanh(cells[t])
        d_h = d_h + d_hidden[t]
        d_c = d_c + d_h * give * (1 - squashed * squashed)
        d_gates = tf.concat(
            [
                d_c * new * take * (1 - take),
                d_c * cells_before[t] * keep * (1 - keep),
                d_c * take * (1 - new * new),
                d_h * squashed * give * (1 - give),
            ],
            axis=1,
        )
        d_h = tf.matmul(d_gates, recurrent_t)
        return index + 1, d_h, d_c * keep, kept.write(t, d_gates)

    *_, kept = tf.while_loop(
        lambda index, *_: index < n_frames,
        body,
        (tf.constant(0), zero[0], d_last_cell, tf.TensorArray(tf.float32, n_frames)),
        maximum_iterations=n_frames,
    )
    d_gates = tf.reshape(kept.stack(), [n_frames * batch, 4 * units])
    hidden_before = tf.reshape(tf.concat([zero, hidden[:-1]], axis=0), [n_frames * batch, units])
    flat = tf.reshape(frames, [n_frames * batch, kernel.shape[0]])
    return (
        tf.reshape(tf.matmul(d_gates, kernel, transpose_b=True), tf.shape(frames)),
        tf.matmul(flat, d_gates, transpose_a=True),
        tf.matmul(hidden_before, d_gates, transpose_a=True),
        tf.reduce_sum(d_gates, axis=0),
    )
