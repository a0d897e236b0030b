"""Every head: one interface, held by one test; and what each of them promises by itself."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tiny import TINY
from trainer.mixture import MixtureHead
from trainer.model import NextFrameModel
from trainer.settings import HEADS

N_MELS = 12


def walk(batch: int = 64, n_frames: int = 50, seed: int = 0) -> np.ndarray:
    """Correlated bands that wander around a mean: [batch, n_frames, N_MELS]."""
    mixing = np.random.default_rng(99).normal(size=(N_MELS, N_MELS))
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(batch, N_MELS))
    frames = []
    for _ in range(n_frames):
        state = 0.9 * state + np.sqrt(1 - 0.81) * rng.normal(size=(batch, N_MELS))
        frames.append(state @ mixing + 3)
    return np.stack(frames, axis=1).astype(np.float32)


def model(head: str, **settings: int) -> NextFrameModel:
    keras.utils.set_random_seed(1)
    made = NextFrameModel(n_mels=N_MELS, settings=dataclasses.replace(TINY, head=head, **settings))
    made.head.prepare([walk()])
    return made


@pytest.mark.parametrize("head", HEADS)
def test_window_call_and_steps_are_the_same_function(head: str) -> None:
    made, frames = model(head), tf.constant(walk(batch=3, n_frames=9))
    window = made(frames)
    outputs, state = made.warm_up(frames[:, :4])
    np.testing.assert_allclose(outputs, window[:, 3], atol=1e-5)
    for index in range(4, 9):
        outputs, state = made.step(frames[:, index], state)
        np.testing.assert_allclose(outputs, window[:, index], atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_shapes_are_those_of_the_interface(head: str) -> None:
    made, frames = model(head), tf.constant(walk(batch=3, n_frames=9))
    outputs = made(frames)
    assert made.head.loss(outputs, frames).shape == (3, 9)
    assert made.head.mean(outputs).shape == (3, 9, N_MELS)
    noise = tf.random.stateless_normal([3, made.head.n_noise], seed=[1, 2])
    drawn = made.head.draw(outputs[:, 0], noise, tf.constant(1.0))
    assert drawn.shape == (3, N_MELS)
    still = [
        made.head.draw(outputs[:, 0], tf.constant(n), tf.constant(0.0)) for n in (noise, -noise)
    ]
    np.testing.assert_allclose(still[0], still[1], atol=1e-5)


def mixture(n_components: int = 3, n_dims: int = N_MELS) -> MixtureHead:
    head = MixtureHead(N_MELS, n_components=n_components, n_dims=n_dims)
    head.build((None, None, 7))
    head.prepare([walk()])
    return head


def test_components_are_white_and_invert_to_the_frame() -> None:
    head, frames = mixture(), walk(seed=5)
    z = head._whiten(tf.constant(frames)).numpy()
    covariance = np.cov(z.reshape(-1, N_MELS), rowvar=False)
    np.testing.assert_allclose(covariance, np.eye(N_MELS), atol=0.35)
    back = z @ head.inverse.numpy() + head.centre.numpy()
    np.testing.assert_allclose(back, frames, atol=1e-3)


def test_the_walk_is_measured() -> None:
    np.testing.assert_allclose(mixture().rho, 0.9, atol=0.04)
    np.testing.assert_allclose(mixture().scale, np.sqrt(1 - 0.81), atol=0.05)


def test_the_loss_is_the_likelihood_of_the_mixture() -> None:
    from scipy import special, stats

    head = mixture()
    rng = np.random.default_rng(3)
    outputs = rng.normal(0, 1, (2, 4, 3 * (1 + 2 * N_MELS) + N_MELS)).astype(np.float32)
    targets = walk(batch=2, n_frames=4, seed=9)
    logits, means, log_sigmas, start = (part.numpy() for part in head._split(outputs))
    innovation = (head._whiten(targets).numpy() - start) / head.scale.numpy()
    each = stats.norm.logpdf(innovation[..., None, :], means, np.exp(log_sigmas)).sum(axis=-1)
    expected = -special.logsumexp(special.log_softmax(logits, axis=-1) + each, axis=-1) / N_MELS
    np.testing.assert_allclose(head.loss(outputs, targets), expected, rtol=1e-4)


def test_what_is_drawn_has_the_mixtures_mean_and_spread() -> None:
    head = mixture()
    rng = np.random.default_rng(4)
    one = rng.normal(0, 1, (1, 3 * (1 + 2 * N_MELS) + N_MELS)).astype(np.float32)
    many = tf.constant(np.repeat(one, 40_000, axis=0))
    noise = tf.random.stateless_normal([40_000, head.n_noise], seed=[5, 6])
    drawn = head.draw(many, noise, tf.constant(1.0)).numpy()
    spread = drawn.std(axis=0)
    np.testing.assert_allclose(drawn.mean(axis=0), head.mean(one)[0], atol=0.03 * spread.max())
    quiet = head.draw(many, noise, tf.constant(0.5)).numpy()
    assert (quiet.std(axis=0) < spread).all()


def test_training_a_mixture_beats_knowing_only_the_walk() -> None:
    """Where the next frame is one of two, the mixture learns which two."""
    rng = np.random.default_rng(0)
    sides = np.sign(rng.normal(size=(32, 24, 1))).astype(np.float32)
    frames = tf.constant(sides + 0.05 * rng.normal(size=(32, 24, N_MELS)).astype(np.float32))
    made = model("mixture", mixture_components=2, mixture_dims=1)
    made.head.prepare([frames.numpy()])
    optimizer = keras.optimizers.Adam(0.03)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(made.head.loss(made(frames[:, :-1]), frames[:, 1:]))
        variables = made.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    losses = [float(step()) for _ in range(150)]
    one_gaussian = 0.5 * np.log(2 * np.pi * np.e)
    assert losses[-1] < one_gaussian - 0.5
    outputs = made(frames[:, :4])[:, -1]
    noise = tf.random.stateless_normal([32, made.head.n_noise], seed=[1, 1])
    drawn = made.head.draw(outputs, noise, tf.constant(1.0)).numpy().mean(axis=1)
    assert (np.abs(np.abs(drawn) - 1) < 0.5).mean() > 0.9  # on a side, not in the middle
    assert 4 < (drawn > 0).sum() < 28
