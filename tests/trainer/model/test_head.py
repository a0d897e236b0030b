"""Heads: one interface, checked by shared tests, and what each head promises by itself."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tests.support.small_models import N_MELS, small_model, wandering_frames
from tests.support.tiny import TINY
from trainer.model import mixture_head
from trainer.model.head import Sampling
from trainer.model.mixture_head import MixtureHead
from trainer.settings import HEADS, HeadName
from trainer.tf_function import graph_function

N_CLASSES = 4
# Outputs of a mixture head: hidden states, class logits, beat cue, and the frames it saw.
LOGITS = slice(TINY.units, TINY.units + N_CLASSES)
BEAT_CUE = slice(LOGITS.stop, LOGITS.stop + 2)
N_OUTPUTS = BEAT_CUE.stop + N_MELS


@pytest.mark.parametrize("head", HEADS)
def test_call_equals_repeated_step(head: HeadName) -> None:
    """With a mixture head, long enough for a look back by four beats."""
    model = small_model(head)
    n_frames = 230 if head == "mixture" else 20
    frames = tf.constant(wandering_frames(3, n_frames, seed=0))
    anchor = tf.constant(wandering_frames(3, 30, seed=7))
    window = model(tf.concat([anchor[:, : model.anchor_frames], frames], axis=1))
    outputs, state = model.warm_up(frames[:, :4], anchor)
    np.testing.assert_allclose(outputs, window[:, 3], atol=1e-4)
    step, kernels = graph_function(model.step), model.lstm.stacked_kernels()
    for index in range(4, n_frames):
        outputs, state = step(frames[:, index], state, kernels)
        np.testing.assert_allclose(outputs, window[:, index], atol=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_head_shapes(head: HeadName) -> None:
    model = small_model(head)
    frames = tf.constant(wandering_frames(batch=3, n_frames=10 + model.anchor_frames))
    outputs = model(frames[:, :-1])
    assert model.head.loss(outputs, frames[:, model.anchor_frames :]).shape == (3, 9)
    assert model.head.mean(outputs).shape == (3, 9, N_MELS)
    noise = tf.random.stateless_normal([3, model.head.n_noise], seed=[1, 2])
    assert model.head.draw(outputs[:, 0], noise, Sampling.at(1.0)).shape == (3, N_MELS)
    still = [
        model.head.draw(outputs[:, 0], tf.constant(n), Sampling.at(0.0)) for n in (noise, -noise)
    ]
    np.testing.assert_allclose(still[0], still[1], atol=1e-5)


def test_mse_negative_log_likelihood_is_a_gaussians() -> None:
    head = small_model("mse").head
    rng = np.random.default_rng(0)
    head.calibrate(tf.constant(rng.uniform(0.5, 2, N_MELS), tf.float32))
    outputs = tf.constant(rng.normal(size=(2, 5, N_MELS)), tf.float32)
    frames = tf.constant(rng.normal(size=(2, 6, N_MELS)), tf.float32)
    logs = stats.norm.logpdf(frames[:, 1:], outputs, np.asarray(head.deviation)).sum(axis=-1)
    np.testing.assert_allclose(head.negative_log_likelihood(outputs, frames), -logs, rtol=1e-4)


def mixture() -> MixtureHead:
    head = small_model("mixture", {"mixture_components": 3, "onset_classes": N_CLASSES}).head
    assert isinstance(head, MixtureHead)
    return head


def random_outputs(count: int) -> np.ndarray:
    return np.random.default_rng(4).normal(0, 1, (count, N_OUTPUTS)).astype(np.float32)


def random_noise(head: MixtureHead, count: int) -> tf.Tensor:
    return tf.random.stateless_normal([count, head.n_noise], seed=[5, 6])


def test_mixture_loss_is_the_likelihood_of_innovations_and_onset() -> None:
    head = mixture()
    frames = wandering_frames(batch=2, n_frames=5, seed=9)
    hidden = np.random.default_rng(3).normal(0, 1, (2, 4, TINY.units)).astype(np.float32)
    outputs = head(hidden, frames[:, :-1])
    classes = head.onsets.classes(head.onsets.strength(frames[:, :-1], frames[:, 1:])).numpy()
    one_hot = np.eye(N_CLASSES, dtype=np.float32)[classes]
    logits, means, log_sigmas = (part.numpy() for part in head.mixture(hidden, one_hot))
    z = head.components(frames).numpy()
    persistence = np.asarray(head.components.persistence)
    innovation = (z[:, 1:] - persistence * z[:, :-1]) / np.asarray(head.components.innovation_scale)
    by_dim = stats.norm.logpdf(innovation[..., None, :], means, np.exp(log_sigmas))
    joint = special.log_softmax(logits, axis=-1) + by_dim.sum(axis=-1)
    log_likelihood = special.logsumexp(joint, axis=-1)
    class_logits = special.log_softmax(outputs[..., LOGITS], axis=-1)
    cross_entropy = -np.take_along_axis(class_logits, classes[..., None], axis=-1)[..., 0]
    expected = 0.25 * cross_entropy - log_likelihood / N_MELS
    np.testing.assert_allclose(head.loss(outputs, frames), expected, rtol=1e-4)
    expected = cross_entropy - log_likelihood
    np.testing.assert_allclose(head.negative_log_likelihood(outputs, frames), expected, rtol=1e-4)


def test_mixture_loss_with_bands_that_never_change() -> None:
    """Above the bandwidth of a recording there is nothing but the floor."""
    frames = wandering_frames()
    frames[..., 6:] = -1.5
    model = small_model("mixture")
    model.adapt([np.concatenate([frames[:, :30], frames], axis=1)])
    outputs = model(tf.constant(np.concatenate([frames[:, :30], frames[:, :-1]], axis=1)))
    assert np.isfinite(model.head.loss(outputs, tf.constant(frames))).all()
    noise = tf.random.stateless_normal([64, model.head.n_noise], seed=[1, 2])
    drawn = model.head.draw(outputs[:, -1], noise, Sampling.at(1.0)).numpy()
    np.testing.assert_allclose(drawn[:, 6:], -1.5, atol=0.01)


@pytest.mark.slow
def test_mixture_training_beats_the_random_walk() -> None:
    """If the next frame is one of two, the mixture learns which two."""
    rng = np.random.default_rng(0)
    sides = np.sign(rng.normal(size=(32, 54, 1))).astype(np.float32)
    frames = tf.constant(sides + 0.05 * rng.normal(size=(32, 54, N_MELS)).astype(np.float32))
    parts = {"mixture_components": 2, "mixture_dims": 1, "onset_weight": 0.0}
    model = small_model("mixture", parts)
    model.adapt([frames.numpy()])
    optimizer = keras.optimizers.Adam(0.03)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model.head.loss(model(frames[:, :-1]), frames[:, 30:]))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    losses = [float(step()) for _ in range(150)]
    one_gaussian = 0.5 * np.log(2 * np.pi * np.e)
    assert losses[-1] < one_gaussian - 0.5


def test_mixture_draw_has_the_mean_and_spread_of_the_mixture(monkeypatch) -> None:
    monkeypatch.setattr(mixture_head, "_CANDIDATES", 1)
    head = mixture()
    head.onsets.class_edges.assign([-99.0, -98.0, 99.0])  # the drawn class contains every onset
    outputs = random_outputs(1)
    outputs[0, LOGITS] = [0, 0, 50, 0]  # a class that is certain
    repeated = tf.constant(np.repeat(outputs, 40_000, axis=0))
    noise = random_noise(head, 40_000)
    drawn = head.draw(repeated, noise, Sampling.at(1.0)).numpy()
    spread = drawn.std(axis=0)
    np.testing.assert_allclose(drawn.mean(axis=0), head.mean(outputs)[0], atol=0.03 * spread.max())
    quiet = head.draw(repeated, noise, Sampling.at(0.5)).numpy()
    assert (quiet.std(axis=0) < spread).all()


def test_mixture_draw_temperature_and_spread_are_independent(monkeypatch) -> None:
    """At spread 0 only the Gaussians' means are left; at temperature 0 only one Gaussian."""
    monkeypatch.setattr(mixture_head, "_CANDIDATES", 1)
    head = mixture()
    outputs = random_outputs(1)
    outputs[0, LOGITS] = [0, 0, 50, 0]
    repeated = tf.constant(np.repeat(outputs, 500, axis=0))
    noise = random_noise(head, 500)

    def n_distinct(temperature: float, spread: float, floor: float = 0.0) -> int:
        sampling = Sampling(*(tf.constant(x, tf.float32) for x in (temperature, spread, floor)))
        drawn = np.round(head.draw(repeated, noise, sampling).numpy(), 3)
        return len(np.unique(drawn, axis=0))

    assert n_distinct(1, 0) == head.n_components
    assert n_distinct(0, 0) == 1
    assert n_distinct(0, 1) == 500
    assert n_distinct(0, 0, floor=0.1) == 500


def test_mixture_draw_keeps_the_candidate_nearer_to_the_drawn_class() -> None:
    head = mixture()
    noise, half = random_noise(head, 4000), 1 + N_MELS
    first = noise[:, 1 : 1 + half]
    equal_candidates = tf.concat([noise[:, :1], first, first], axis=1)
    for drawn_class in range(N_CLASSES):
        outputs = random_outputs(4000)
        outputs[:, LOGITS] = 50 * np.eye(N_CLASSES)[drawn_class]
        distances = []
        for candidates in (noise, equal_candidates):
            drawn = head.draw(tf.constant(outputs), candidates, Sampling.at(1.0))
            strength = head.onsets.strength(tf.constant(outputs[:, -N_MELS:]), drawn)
            distances.append(np.abs(strength - head.onsets.class_medians[drawn_class]).mean())
        assert distances[0] < distances[1]


def test_mixture_draw_belongs_to_the_drawn_class() -> None:
    head = mixture()
    edges = [-np.inf, *head.onsets.class_edges.numpy(), np.inf]
    for drawn_class in range(N_CLASSES):
        outputs = random_outputs(2000)
        outputs[:, LOGITS] = 50 * np.eye(N_CLASSES)[drawn_class]
        drawn = head.draw(tf.constant(outputs), random_noise(head, 2000), Sampling.at(1.0))
        strength = head.onsets.strength(tf.constant(outputs[:, -N_MELS:]), drawn).numpy()
        distance = strength - np.clip(strength, edges[drawn_class], edges[drawn_class + 1])
        assert (np.abs(distance) < 0.02).mean() > 0.95


def test_mixture_draw_prefers_the_onset_one_beat_ago() -> None:
    head = mixture()
    head.classifier.layers[-1].bias.assign(tf.zeros(N_CLASSES))
    noise = random_noise(head, 4000)
    seen = wandering_frames(batch=4000, n_frames=1)[:, 0]

    def strengths(regularity: float, strength: float) -> np.ndarray:
        outputs = np.zeros((4000, N_OUTPUTS), np.float32)  # classes are equally likely
        outputs[:, BEAT_CUE], outputs[:, -N_MELS:] = (regularity, strength), seen
        drawn = head.draw(tf.constant(outputs), noise, Sampling.at(1.0))
        return head.onsets.strength(tf.constant(seen), drawn).numpy()

    lowest, highest = (float(head.onsets.class_medians[index]) for index in (0, 3))
    head.beat_weight = 3.0
    irregular = strengths(0.0, highest)
    np.testing.assert_array_equal(strengths(-0.5, highest), irregular)
    somewhat, fully = (strengths(regularity, highest).mean() for regularity in (0.3, 1.0))
    assert irregular.mean() + 0.2 < somewhat < fully - 0.2
    assert strengths(1.0, lowest).mean() < irregular.mean() - 0.5
    head.beat_weight = 0.0
    np.testing.assert_array_equal(strengths(1.0, highest), irregular)


def test_mixture_draw_with_change_scale_zero_repeats_the_frame() -> None:
    head, outputs = mixture(), tf.constant(random_outputs(50))
    still = head.draw(
        outputs, random_noise(head, 50), Sampling.at(1.0), change_scale=tf.zeros([50, N_MELS])
    )
    np.testing.assert_allclose(still, outputs[:, -N_MELS:], atol=1e-6)


def test_hold_and_beat_weight_reach_the_head() -> None:
    default = small_model("mixture").head
    changed = small_model("mixture", {"beat_weight": 2.0}, hold=0.0).head
    assert not default.hold.is_off
    assert changed.hold.is_off
    assert changed.beat_weight == 2.0
