"""Stacked LSTM over a window of frames, and over a single frame with carried state.

On a CPU the window call is 1.5 to 2.7 times as fast as Keras's (benchmarks/README.md), because

- the input projection of all frames is one matrix product before the loop;
- XLA compiles everything else that a frame needs into one operation;
- a hand-written gradient uses the gates kept from the forward pass, and computes the gradients of
  the weights with one matrix product each after the loop.

A test compares output and gradients with keras.layers.LSTM, whose weights this layer shares. On a
GPU, Keras's own layer runs, which uses cuDNN; on a TPU this one, whose loop XLA compiles.

The equations, for one layer, with frames x, hidden states h, cells c, the kernel W, the recurrent
kernel U, the bias b, and * for elementwise products. The gates are those of every textbook, in
Keras's order: i (input), f (forget), g (candidate) and o (output).

  Forward, t = 0 ... T-1:
    a[t] = x[t] W + h[t-1] U + b                    pre-activations of all four gates
    i, f, o = sigmoid(a_i, a_f, a_o);   g = tanh(a_g)
    c[t] = f * c[t-1] + i * g
    h[t] = o * tanh(c[t])

  Backward, t = T-1 ... 0, with dX the derivative of the loss by X:
    dh   = (derivative by the output h[t]) + da[t+1] U^T
    dc   = dh * o * (1 - tanh(c[t])^2) + dc[t+1] * f[t+1]
    di   = dc * g;   df = dc * c[t-1];   dg = dc * i;   do = dh * tanh(c[t])
    da   = (di * i * (1 - i),  df * f * (1 - f),  dg * (1 - g^2),  do * o * (1 - o))

  After the loop, over all t:
    dx[t] = da[t] W^T;   dW = sum x[t]^T da[t];   dU = sum h[t-1]^T da[t];   db = sum da[t]

References:
  Hochreiter and Schmidhuber, "Long short-term memory", 1997.
  Gers, Schmidhuber and Cummins, "Learning to forget", 2000: the forget gate.
  Greff et al., "LSTM: A search space odyssey", 2017: these equations, forward and backward.
  Appleyard et al., "Optimizing performance of recurrent neural networks on GPUs", 2016: the input
    projection outside the loop.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf
from typing_extensions import override

from trainer.tf_function import graph_function

# Hidden state and cell of each layer, each float32 [batch, units].
State = tuple[tuple[tf.Tensor, tf.Tensor], ...]
# Both kernels of each layer as one matrix, and the bias: one product is faster than two.
StackedKernels = tuple[tuple[tf.Tensor, tf.Tensor], ...]


@keras.saving.register_keras_serializable(package="nocturne")
class FusedLSTM(keras.layers.Layer):
    """One LSTM layer with the weights, the order of gates and the results of keras.layers.LSTM.

    Args:
      units: Size of the hidden state.
      precision: Type of the window's matrix products, `float32` or `bfloat16`. Everything else,
        including weights and single steps, is float32.
    """

    def __init__(self, units: int, *, precision: str = "float32", **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.units, self.precision = units, precision
        self.keras_lstm = keras.layers.LSTM(
            units, return_sequences=True, return_state=True, name="keras_lstm"
        )

    @override
    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.keras_lstm.build((None, None, input_shape[-1]))
        self.built = True

    @property
    def _weights(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        cell = self.keras_lstm.cell
        kernel, recurrent = (tf.convert_to_tensor(w) for w in (cell.kernel, cell.recurrent_kernel))
        return kernel, recurrent, tf.convert_to_tensor(cell.bias)

    def call(self, frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs a window from a zero state.

        Args:
          frames: float32 [n_frames, batch, n], time first.

        Returns:
          The hidden states [n_frames, batch, units], and the last cell [batch, units].
        """
        if _on_gpu():
            sequence, _, cell = self.keras_lstm(tf.transpose(frames, [1, 0, 2]))
            return tf.transpose(sequence, [1, 0, 2]), cell
        return _lstm(frames, *self._weights, precision=self.precision)

    def stacked_kernels(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns both kernels as one matrix [n + units, 4 * units], and the bias."""
        kernel, recurrent, bias = self._weights
        return tf.concat([kernel, recurrent], axis=0), bias

    @override
    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "units": self.units, "precision": self.precision}


@keras.saving.register_keras_serializable(package="nocturne")
class StackedLSTM(keras.layers.Layer):
    """Several LSTM layers, one on top of the other; `dropout` is the share of dropped inputs."""

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

    @override
    def build(self, input_shape: tuple[int | None, ...]) -> None:
        n = input_shape[-1]
        for layer in self.stack:
            layer.build((None, None, n))
            n = self.units
        self.built = True

    def call(self, frames: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the hidden states [batch, n_frames, units] of frames [batch, n_frames, n]."""
        return self.unroll(frames, dropout_seed)[0]

    def unroll(
        self, frames: tf.Tensor, dropout_seed: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, State]:
        """Runs a window from a zero state.

        Args:
          frames: float32 [batch, n_frames, n].
          dropout_seed: Seed of the dropout, int64 [2]; None for no dropout. Equal seeds drop the
            same inputs, so that a training step can be repeated.

        Returns:
          The hidden states [batch, n_frames, units], and the state after the last frame.
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
        """Returns the kernels that `step` takes; a loop over steps makes them once."""
        return tuple(layer.stacked_kernels() for layer in self.stack)

    @staticmethod
    def step(frame: tf.Tensor, state: State, kernels: StackedKernels) -> tuple[tf.Tensor, State]:
        """Runs one frame float32 [batch, n]; returns the hidden state and the new state."""
        new_state = []
        for (hidden, cell), (kernel, bias) in zip(state, kernels, strict=True):
            pre_activations = tf.matmul(tf.concat([frame, hidden], axis=1), kernel) + bias
            frame, cell, _ = _cell_step(pre_activations, cell)
            new_state.append((frame, cell))
        return frame, tuple(new_state)

    @override
    def get_config(self) -> dict[str, object]:
        names = ("units", "n_layers", "dropout", "precision")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _on_gpu() -> bool:
    """Returns whether the graph is built for GPUs; an exported model is built for any device."""
    if not tf.distribute.has_strategy():
        return False
    devices = tf.distribute.get_strategy().extended.worker_devices
    return any("GPU" in device for device in devices)


def _matmul(a: tf.Tensor, b: tf.Tensor, precision: str, **kwargs: bool) -> tf.Tensor:
    """Returns a matrix product computed in a precision, as float32."""
    a, b = tf.cast(a, precision), tf.cast(b, precision)
    return tf.cast(tf.matmul(a, b, **kwargs), tf.float32)


def _cell_step(
    pre_activations: tf.Tensor, cell: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the hidden state, the cell, and the gates i, f, g, o [batch, 4 * units]."""
    # sigmoid(x) = (1 + tanh(x / 2)) / 2, so one tanh serves all four gates.
    scale, offset = (
        tf.repeat(tf.constant(by_gate, tf.float32), cell.shape[-1])
        for by_gate in ([0.5, 0.5, 1.0, 0.5], [0.5, 0.5, 0.0, 0.5])
    )
    gates = tf.tanh(pre_activations * scale) * scale + offset
    i, f, g, o = tf.split(gates, 4, axis=1)
    cell = f * cell + i * g
    return o * tf.tanh(cell), cell, gates


# One frame of a batch is so little work that TensorFlow spends as long on starting its twenty small
# operations as on the matrix product; XLA compiles them into one.
@graph_function(jit_compile=True)
def _cell_step_compiled(
    projected: tf.Tensor, recurrent: tf.Tensor, cell: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns _cell_step of x W + b plus h U."""
    return _cell_step(projected + recurrent, cell)


@graph_function(jit_compile=True)
def _gate_gradients(
    gates: tf.Tensor,
    cell: tf.Tensor,
    previous_cell: tf.Tensor,
    d_hidden: tf.Tensor,
    d_cell: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns da [batch, 4 * units] of one frame, and its part of dc for the frame before."""
    units = cell.shape[-1]
    gates = tf.reshape(gates, [-1, 4, units])
    i, f, g, o = tf.unstack(gates, axis=1)
    tanh_cell = tf.tanh(cell)
    d_cell = d_cell + d_hidden * o * (1 - tanh_cell * tanh_cell)
    d_gates = tf.stack(
        [d_cell * g, d_cell * previous_cell, d_cell * i, d_hidden * tanh_cell], axis=1
    )
    is_g = tf.constant([False, False, True, False])[:, None]
    slopes = tf.where(is_g, 1 - gates * gates, gates * (1 - gates))
    return tf.reshape(d_gates * slopes, [-1, 4 * units]), d_cell * f


def _lstm(
    frames: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, *, precision: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the hidden states, time first, and the last cell, with a gradient of its own."""

    @tf.custom_gradient
    def run(
        frames: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tuple[tf.Tensor, ...]]]:
        hidden, cells, gates = _forward(frames, kernel, recurrent, bias, precision)

        def gradient(d_hidden: tf.Tensor, d_last_cell: tf.Tensor) -> tuple[tf.Tensor, ...]:
            saved = (frames, kernel, recurrent, hidden, cells, gates)
            return _backward(d_hidden, d_last_cell, *saved, precision=precision)

        return (hidden, cells[-1]), gradient

    output: tuple[tf.Tensor, tf.Tensor] = run(frames, kernel, recurrent, bias)
    return output


def _forward(
    frames: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, precision: str
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns hidden states, cells and gates of all frames, time first."""
    units = recurrent.shape[0]
    n_frames, batch = tf.shape(frames)[0], tf.shape(frames)[1]
    flat = tf.reshape(frames, [n_frames * batch, kernel.shape[0]])
    projected = tf.nn.bias_add(_matmul(flat, kernel, precision), bias)
    projected = tf.reshape(projected, [n_frames, batch, 4 * units])
    arrays = tuple(tf.TensorArray(tf.float32, n_frames) for _ in range(3))

    def body(t: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor, *arrays: tf.TensorArray) -> tuple:
        product = _matmul(hidden, recurrent, precision)
        hidden, cell, gates = _cell_step_compiled(projected[t], product, cell)
        values = zip(arrays, (hidden, cell, gates), strict=True)
        return t + 1, hidden, cell, *(array.write(t, value) for array, value in values)

    zero = tf.zeros([batch, units])
    _, _, _, *arrays = tf.while_loop(
        lambda t, *_: t < n_frames,
        body,
        (tf.constant(0), zero, zero, *arrays),
        maximum_iterations=n_frames,
    )
    hidden, cells, gates = (array.stack() for array in arrays)
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
    """Returns the gradients of frames, kernel, recurrent kernel and bias.

    Takes those of the hidden states [n_frames, batch, units] and of the last cell [batch, units],
    and what the forward pass took and returned.
    """
    units = recurrent.shape[0]
    n_frames, batch = tf.shape(frames)[0], tf.shape(frames)[1]
    zero = tf.zeros([1, batch, units])
    previous_cells = tf.concat([zero, cells[:-1]], axis=0)
    recurrent_t = tf.transpose(recurrent)

    def body(
        index: tf.Tensor, d_h: tf.Tensor, d_c: tf.Tensor, array: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.TensorArray]:
        t = n_frames - 1 - index
        d_h = d_h + d_hidden[t]
        d_a, d_c = _gate_gradients(gates[t], cells[t], previous_cells[t], d_h, d_c)
        d_h = _matmul(d_a, recurrent_t, precision)
        return index + 1, d_h, d_c, array.write(t, d_a)

    *_, array = tf.while_loop(
        lambda index, *_: index < n_frames,
        body,
        (tf.constant(0), zero[0], d_last_cell, tf.TensorArray(tf.float32, n_frames)),
        maximum_iterations=n_frames,
    )
    d_a = tf.reshape(array.stack(), [n_frames * batch, 4 * units])
    previous_hidden = tf.reshape(tf.concat([zero, hidden[:-1]], axis=0), [n_frames * batch, units])
    flat = tf.reshape(frames, [n_frames * batch, kernel.shape[0]])
    return (
        tf.reshape(_matmul(d_a, kernel, precision, transpose_b=True), tf.shape(frames)),
        _matmul(flat, d_a, precision, transpose_a=True),
        _matmul(previous_hidden, d_a, precision, transpose_a=True),
        tf.reduce_sum(d_a, axis=0),
    )
