"""The LSTM against keras.layers.LSTM, and its window call against its own step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.model import lstm
from trainer.model.lstm import FusedLSTM, StackedLSTM

UNITS, N_LAYERS, N_FRAMES, BATCH, N = 24, 2, 33, 3, 10


@pytest.fixture
def stack() -> StackedLSTM:
    keras.utils.set_random_seed(1)
    layer = StackedLSTM(UNITS, N_LAYERS, dropout=0.5)
    layer.build((None, None, N))
    return layer


@pytest.fixture
def frames() -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(size=(BATCH, N_FRAMES, N)), tf.float32)


def keras_stack(stack: StackedLSTM) -> list[keras.layers.LSTM]:
    """Keras's own layers with the same weights."""
    layers = []
    for index, layer in enumerate(stack.stack):
        twin = keras.layers.LSTM(UNITS, return_sequences=True, return_state=True)
        twin.build((None, None, N if index == 0 else UNITS))
        twin.set_weights(layer.get_weights())
        layers.append(twin)
    return layers


def test_unroll_and_gradients_equal_keras(stack, frames) -> None:
    twins = keras_stack(stack)

    def ours() -> tf.Tensor:
        hidden, state = stack.unroll(frames)
        return tf.reduce_mean(hidden**2) + tf.reduce_sum(state[-1][1] * state[-1][0])

    def theirs() -> tf.Tensor:
        hidden = frames
        for twin in twins:
            hidden, last_hidden, last_cell = twin(hidden)
        return tf.reduce_mean(hidden**2) + tf.reduce_sum(last_cell * last_hidden)

    results = []
    for loss, layers in ((ours, stack.stack), (theirs, twins)):
        variables = [weight for layer in layers for weight in layer.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(frames)
            value = loss()
        gradients = tape.gradient(value, [*(weight.value for weight in variables), frames])
        results.append((value, gradients))
    (value, gradients), (expected, expected_gradients) = results
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    assert len(gradients) == 3 * N_LAYERS + 1
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())


def test_unroll_equals_repeated_step(stack, frames) -> None:
    hidden, state = stack.unroll(frames)
    zero = tf.zeros([BATCH, UNITS])
    stepped_state, kernels = ((zero, zero),) * N_LAYERS, stack.stacked_kernels()
    for index in range(N_FRAMES):
        stepped, stepped_state = stack.step(frames[:, index], stepped_state, kernels)
        np.testing.assert_allclose(stepped, hidden[:, index], atol=1e-5)
    np.testing.assert_allclose(state, stepped_state, atol=1e-5)


def test_call_dropout_depends_on_its_seed(stack, frames) -> None:
    quiet = stack(frames)
    np.testing.assert_array_equal(quiet, stack(frames))
    seed = tf.constant([3, 4], tf.int64)
    dropped = stack(frames, dropout_seed=seed)
    assert np.abs(dropped - quiet).max() > 1e-3
    np.testing.assert_array_equal(dropped, stack(frames, dropout_seed=seed))
    assert np.abs(dropped - stack(frames, dropout_seed=seed + 1)).max() > 1e-3


def test_stacked_lstm_survives_keras_save_and_load(tmp_path, frames) -> None:
    inputs = keras.Input((None, N))
    model = keras.Model(inputs, StackedLSTM(UNITS, N_LAYERS, dropout=0.1)(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded(frames), model(frames))


def test_build_opens_the_forget_gate() -> None:
    layer = FusedLSTM(4)
    layer.build((None, None, 2))
    np.testing.assert_array_equal(layer.get_weights()[2], [0] * 4 + [1] * 4 + [0] * 8)


def test_unroll_on_a_gpu_calls_the_keras_layer(stack, frames, monkeypatch) -> None:
    """Keras uses cuDNN there; that it is Keras's layer can be shown without a GPU."""
    hidden, state = stack.unroll(frames)
    called = []
    real = keras.layers.LSTM.call
    monkeypatch.setattr(
        keras.layers.LSTM, "call", lambda self, *a, **k: called.append(1) or real(self, *a, **k)
    )
    monkeypatch.setattr(lstm, "_on_gpu", lambda: True)
    on_gpu, state_on_gpu = stack.unroll(frames)
    assert len(called) == N_LAYERS
    np.testing.assert_allclose(on_gpu, hidden, atol=1e-5)
    np.testing.assert_allclose(state_on_gpu[-1][1], state[-1][1], atol=1e-5)


def test_bfloat16_is_close_to_float32_with_float32_weights(frames) -> None:
    results = []
    for precision in ("float32", "bfloat16"):
        keras.utils.set_random_seed(1)
        layer = StackedLSTM(UNITS, N_LAYERS, precision=precision)
        layer.build((None, None, N))
        assert {weight.dtype for weight in layer.weights} == {"float32"}
        with tf.GradientTape() as tape:
            hidden = layer(frames)
            loss = tf.reduce_mean(hidden**2)
        gradients = tape.gradient(loss, [weight.value for weight in layer.trainable_variables])
        results.append((hidden, gradients))
    (hidden, gradients), (rough, rough_gradients) = results
    assert rough.dtype == tf.float32
    assert 0 < np.abs(rough - hidden).max() < 0.02
    for exact, gradient in zip(gradients, rough_gradients, strict=True):
        assert 0 < np.abs(gradient - exact).max() < 0.05 * np.abs(exact).max()
