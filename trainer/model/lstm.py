"""Stacked LSTM over a window of frames, and the same over one frame with carried state.

On a CPU the window call is 1.5 to 2.7 times as fast as Keras's (benchmarks/README.md): the input
projection of all frames is one matrix product before the loop, XLA makes one operation of what else
a frame needs, and a hand-written gradient keeps the gates of the forward pass, so that the weights'
gradients are one product each after the loop.
A test holds forward and gradients against keras.layers.LSTM, whose weights it shares. On a GPU
Keras's own layer runs, and picks cuDNN; on a TPU ours, whose loop XLA compiles.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from trainer.tf_function import graph_function

# Per layer (hidden, cell), each float32 [batch, units].
State = tuple[tuple[tf.Tensor, tf.Tensor], ...]
# Per layer the kernels as one, and the bias: one product a step is faster than two.
StackedKernels = tuple[tuple[tf.Tensor, tf.Tensor], ...]


@keras.saving.register_keras_serializable(package="nocturne")
class FusedLSTM(keras.layers.Layer):
    """One LSTM layer with the weights, gate order and numbers of keras.layers.LSTM.

    Args:
      units: size of the hidden frame.
      precision: of the window's matrix products, `float32` or `bfloat16`; everything else, weights
        among it, is float32, and so is a single step.

    References:
      Hochreiter and Schmidhuber, "Long short-term memory", 1997.
      Appleyard et al., "Optimizing performance of recurrent neural networks on GPUs", 2016: the
        input projection outside the loop.
    """

    def __init__(self, units: int, *, precision: str = "float32", **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.units, self.precision = units, precision
        self.keras = keras.layers.LSTM(
            units, return_sequences=True, return_state=True, name="keras_lstm"
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights for frames of input_shape[-1] features."""
        self.keras.build((None, None, input_shape[-1]))
        self.built = True

    @property
    def _weights(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        cell = self.keras.cell
        kernel, recurrent = (tf.convert_to_tensor(w) for w in (cell.kernel, cell.recurrent_kernel))
        return kernel, recurrent, tf.convert_to_tensor(cell.bias)

    def call(self, frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs a window from a zero state.

        Args:
          frames: float32 [n_frames, batch, n]: time first.

        Returns:
          Hidden frames [n_frames, batch, units], and the cell after the last one [batch, units].
        """
        if _on_gpu():
            sequence, _, cell = self.keras(tf.transpose(frames, [1, 0, 2]))
            return tf.transpose(sequence, [1, 0, 2]), cell
        return _lstm(frames, *self._weights, precision=self.precision)

    def stacked_kernels(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns both kernels as one matrix [n + units, 4 * units], and the bias."""
        kernel, recurrent, bias = self._weights
        return tf.concat([kernel, recurrent], axis=0), bias

    def get_config(self) -> dict[str, object]:
        """Returns what the constructor wants."""
        return {**super().get_config(), "units": self.units, "precision": self.precision}


@keras.saving.register_keras_serializable(package="nocturne")
class StackedLSTM(keras.layers.Layer):
    """LSTM layers, one on top of the other; window call and step share weights."""

    def __init__(
        self,
        units: int,
        n_layers: int,
        *,
        dropout: float = 0.0,
        precision: str = "float32",
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.n_layers, self.dropout = units, n_layers, dropout
        self.precision = precision
        self.stack = [
            FusedLSTM(units, precision=precision, name=f"lstm_{index}") for index in range(n_layers)
        ]

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

    def stacked_kernels(self) -> StackedKernels:
        """Returns what `step` multiplies with; a loop over steps makes it once."""
        return tuple(layer.stacked_kernels() for layer in self.stack)

    @staticmethod
    def step(frame: tf.Tensor, state: State, joined: StackedKernels) -> tuple[tf.Tensor, State]:
        """Runs one frame float32 [batch, n]; returns the hidden frame and the new state."""
        after = []
        for (hidden, cell), (kernel, bias) in zip(state, joined, strict=True):
            gates = tf.matmul(tf.concat([frame, hidden], axis=1), kernel) + bias
            frame, cell, _ = _update(gates, cell)
            after.append((frame, cell))
        return frame, tuple(after)

    def get_config(self) -> dict[str, object]:
        """Returns what the constructor wants."""
        names = ("units", "n_layers", "dropout", "precision")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _on_gpu() -> bool:
    """Whether what is being built runs on GPUs; an exported model is built for any device."""
    if not tf.distribute.has_strategy():
        return False
    devices = tf.distribute.get_strategy().extended.worker_devices
    return any("GPU" in device for device in devices)


def _product(a: tf.Tensor, b: tf.Tensor, precision: str, **kwargs: bool) -> tf.Tensor:
    """Returns a matrix product in a precision, as float32."""
    a, b = tf.cast(a, precision), tf.cast(b, precision)
    return tf.cast(tf.matmul(a, b, **kwargs), tf.float32)


def _update(gates: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns hidden, cell, and the four gates after their functions [batch, 4 * units]."""
    # sigmoid(x) = (1 + tanh(x / 2)) / 2: one function for all four.
    scale, offset = (
        tf.repeat(tf.constant(each, tf.float32), cell.shape[-1])
        for each in ([0.5, 0.5, 1.0, 0.5], [0.5, 0.5, 0.0, 0.5])
    )
    gates = tf.tanh(gates * scale) * scale + offset
    take, keep, new, give = tf.split(gates, 4, axis=1)
    cell = keep * cell + take * new
    return give * tf.tanh(cell), cell, gates


# A frame of a batch is so little that TensorFlow spends as long on starting its twenty small
# operations as on the matrix product; XLA makes them one.
@graph_function(jit_compile=True)
def _updated(
    projected: tf.Tensor, product: tf.Tensor, cell: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns _update of the sum of the two halves of the gates."""
    return _update(projected + product, cell)


@graph_function(jit_compile=True)
def _blamed(
    gates: tf.Tensor,
    cell: tf.Tensor,
    cell_before: tf.Tensor,
    d_hidden: tf.Tensor,
    d_cell: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the gradients of gates before their functions, and of the cell before."""
    units = cell.shape[-1]
    each = tf.reshape(gates, [-1, 4, units])
    take, keep, new, give = tf.unstack(each, axis=1)
    squashed = tf.tanh(cell)
    d_cell = d_cell + d_hidden * give * (1 - squashed * squashed)
    d_each = tf.stack(
        [d_cell * new, d_cell * cell_before, d_cell * take, d_hidden * squashed], axis=1
    )
    is_new = tf.constant([False, False, True, False])[:, None]
    slope = tf.where(is_new, 1 - each * each, each * (1 - each))
    return tf.reshape(d_each * slope, [-1, 4 * units]), d_cell * keep


def _lstm(
    frames: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, *, precision: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns hidden frames, time first, and the last cell; with a gradient of its own."""

    @tf.custom_gradient
    def run(
        frames: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tuple[tf.Tensor, ...]]]:
        hidden, cells, gates = _forward(frames, kernel, recurrent, bias, precision)

        def gradient(d_hidden: tf.Tensor, d_last_cell: tf.Tensor) -> tuple[tf.Tensor, ...]:
            saved = (frames, kernel, recurrent, hidden, cells, gates)
            return _backward(d_hidden, d_last_cell, *saved, precision=precision)

        return (hidden, cells[-1]), gradient

    last: tuple[tf.Tensor, tf.Tensor] = run(frames, kernel, recurrent, bias)
    return last


def _forward(
    frames: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, precision: str
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns hidden, cells and gates of all frames, time first."""
    units = recurrent.shape[0]
    n_frames, batch = tf.shape(frames)[0], tf.shape(frames)[1]
    flat = tf.reshape(frames, [n_frames * batch, kernel.shape[0]])
    projected = tf.nn.bias_add(_product(flat, kernel, precision), bias)
    projected = tf.reshape(projected, [n_frames, batch, 4 * units])
    arrays = tuple(tf.TensorArray(tf.float32, n_frames) for _ in range(3))

    def body(t: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor, *kept: tf.TensorArray) -> tuple:
        hidden, cell, gates = _updated(projected[t], _product(hidden, recurrent, precision), cell)
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
    *,
    precision: str,
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
        d_gates, d_c = _blamed(gates[t], cells[t], cells_before[t], d_h + d_hidden[t], d_c)
        d_h = _product(d_gates, recurrent_t, precision)
        return index + 1, d_h, d_c, kept.write(t, d_gates)

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
        tf.reshape(_product(d_gates, kernel, precision, transpose_b=True), tf.shape(frames)),
        _product(flat, d_gates, precision, transpose_a=True),
        _product(hidden_before, d_gates, precision, transpose_a=True),
        tf.reduce_sum(d_gates, axis=0),
    )
