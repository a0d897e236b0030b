"""Every head: one interface, held by one test; and what each of them promises by itself."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tests.support.small_models import N_MELS, model, walk
from tests.support.tiny import TINY
from trainer.model import mixture_head as mixture_module
from trainer.model.head import Sampling
from trainer.model.mixture_head import MixtureHead
from trainer.settings import HEADS, HeadName

# Of a mixture head with four onset classes: hidden, class logits, echo, and frames as heard.
N_OUTPUTS = TINY.units + 4 + 2 + N_MELS


@pytest.mark.parametrize("head", HEADS)
def test_window_call_and_steps_are_the_same_function(head: HeadName) -> None:
    """Long enough for a look back by four beats."""
    made = model(head)
    frames, anchor = (tf.constant(walk(3, n, seed)) for n, seed in ((230, 0), (30, 7)))
    window = made(tf.concat([anchor[:, : made.anchor_frames], frames], axis=1))
    outputs, state = made.warm_up(frames[:, :4], anchor)
    np.testing.assert_allclose(outputs, window[:, 3], atol=1e-4)
    for index in range(4, 230):
        outputs, state = made.step(frames[:, index], state, made.lstm.stacked_kernels())
        np.testing.assert_allclose(outputs, window[:, index], atol=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_shapes_are_those_of_the_interface(head: HeadName) -> None:
    made = model(head)
    frames = tf.constant(walk(batch=3, n_frames=10 + made.anchor_frames))
    outputs = made(frames[:, :-1])
    assert made.head.loss(outputs, frames[:, made.anchor_frames :]).shape == (3, 9)
    assert made.head.mean(outputs).shape == (3, 9, N_MELS)
    noise = tf.random.stateless_normal([3, made.head.n_noise], seed=[1, 2])
    drawn = made.head.draw(outputs[:, 0], noise, Sampling.at(1.0))
    assert drawn.shape == (3, N_MELS)
    still = [
        made.head.draw(outputs[:, 0], tf.constant(n), Sampling.at(0.0)) for n in (noise, -noise)
    ]
    np.testing.assert_allclose(still[0], still[1], atol=1e-5)


def mixture() -> MixtureHead:
    head = model("mixture", {"mixture_components": 3, "onset_classes": 4}).head
    assert isinstance(head, MixtureHead)
    return head


def test_components_are_white_and_invert_to_the_frame() -> None:
    whitening, frames = mixture().whitening, walk(seed=5)
    z = whitening(tf.constant(frames)).numpy()
    covariance = np.cov(z.reshape(-1, N_MELS), rowvar=False)
    np.testing.assert_allclose(covariance, np.eye(N_MELS), atol=0.35)
    np.testing.assert_allclose(whitening.invert(z), frames, atol=1e-3)


def test_bands_that_never_change_are_no_harm() -> None:
    """Above the bandwidth of a recording there is nothing but the floor."""
    frames = walk()
    frames[..., 6:] = -1.5
    made = model("mixture")
    made.prepare([np.concatenate([frames[:, :30], frames], axis=1)])
    outputs = made(tf.constant(np.concatenate([frames[:, :30], frames[:, :-1]], axis=1)))
    loss = made.head.loss(outputs, tf.constant(frames))
    assert np.isfinite(loss).all()
    noise = tf.random.stateless_normal([64, made.head.n_noise], seed=[1, 2])
    drawn = made.head.draw(outputs[:, -1], noise, Sampling.at(1.0)).numpy()
    np.testing.assert_allclose(drawn[:, 6:], -1.5, atol=0.01)


def test_the_walk_is_measured() -> None:
    np.testing.assert_allclose(mixture().whitening.persistence, 0.9, atol=0.04)
    np.testing.assert_allclose(mixture().whitening.innovation_scale, np.sqrt(1 - 0.81), atol=0.05)


def test_the_loss_is_the_likelihood_of_the_mixture_and_of_the_onset() -> None:
    head = mixture()
    frames = walk(batch=2, n_frames=5, seed=9)
    hidden = np.random.default_rng(3).normal(0, 1, (2, 4, TINY.units)).astype(np.float32)
    outputs = head(hidden, frames[:, :-1])
    classes = head.onsets.classes(head.onsets.strength(frames[:, :-1], frames[:, 1:])).numpy()
    logits, means, log_sigmas = (
        part.numpy() for part in head.mixture(hidden, np.eye(4, dtype=np.float32)[classes])
    )
    z, rho, scale = (
        np.asarray(each)
        for each in (
            head.whitening(frames),
            head.whitening.persistence,
            head.whitening.innovation_scale,
        )
    )
    innovation = (z[:, 1:] - rho * z[:, :-1]) / scale
    each = stats.norm.logpdf(innovation[..., None, :], means, np.exp(log_sigmas)).sum(axis=-1)
    likelihood = special.logsumexp(special.log_softmax(logits, axis=-1) + each, axis=-1) / N_MELS
    class_logits = special.log_softmax(outputs[..., TINY.units : TINY.units + 4], axis=-1)
    surprise = -np.take_along_axis(class_logits, classes[..., None], axis=-1)[..., 0]
    expected = 0.25 * surprise - likelihood
    np.testing.assert_allclose(head.loss(outputs, frames), expected, rtol=1e-4)
    expected = surprise - N_MELS * likelihood
    np.testing.assert_allclose(head.surprise(outputs, frames), expected, rtol=1e-4)


def test_what_is_drawn_has_the_mixtures_mean_and_spread(monkeypatch) -> None:
    monkeypatch.setattr(mixture_module, "_CANDIDATES", 1)
    head = mixture()
    head.onsets.edges.assign([-99.0, -98.0, 99.0])  # the class that is drawn holds any onset
    rng = np.random.default_rng(4)
    one = rng.normal(0, 1, (1, N_OUTPUTS)).astype(np.float32)
    one[0, TINY.units : TINY.units + 4] = [0, 0, 50, 0]  # a class that is certain
    many = tf.constant(np.repeat(one, 40_000, axis=0))
    noise = tf.random.stateless_normal([40_000, head.n_noise], seed=[5, 6])
    drawn = head.draw(many, noise, Sampling.at(1.0)).numpy()
    spread = drawn.std(axis=0)
    np.testing.assert_allclose(drawn.mean(axis=0), head.mean(one)[0], atol=0.03 * spread.max())
    quiet = head.draw(many, noise, Sampling.at(0.5)).numpy()
    assert (quiet.std(axis=0) < spread).all()


def test_choices_and_their_spread_have_temperatures_of_their_own(monkeypatch) -> None:
    """At spread 0 only the components' means are left; at temperature 0 only one component."""
    monkeypatch.setattr(mixture_module, "_CANDIDATES", 1)
    head = mixture()
    one = np.random.default_rng(4).normal(0, 1, (1, N_OUTPUTS)).astype(np.float32)
    one[0, TINY.units : TINY.units + 4] = [0, 0, 50, 0]
    many = tf.constant(np.repeat(one, 500, axis=0))
    noise = tf.random.stateless_normal([500, head.n_noise], seed=[5, 6])

    def kinds(temperature: float, spread: float, floor: float = 0.0) -> int:
        sampling = Sampling(*(tf.constant(x, tf.float32) for x in (temperature, spread, floor)))
        drawn = np.round(head.draw(many, noise, sampling).numpy(), 3)
        return len(np.unique(drawn, axis=0))

    assert kinds(1, 0) == head.n_components
    assert kinds(0, 0) == 1
    assert kinds(0, 1) == 500
    assert kinds(0, 0, floor=0.1) == 500


def test_the_surprise_of_an_mse_head_is_a_gaussians() -> None:
    head = model("mse").head
    rng = np.random.default_rng(0)
    head.calibrate(tf.constant(rng.uniform(0.5, 2, N_MELS), tf.float32))
    outputs = tf.constant(rng.normal(size=(2, 5, N_MELS)), tf.float32)
    frames = tf.constant(rng.normal(size=(2, 6, N_MELS)), tf.float32)
    logs = stats.norm.logpdf(frames[:, 1:], outputs, np.asarray(head.spread))
    np.testing.assert_allclose(head.surprise(outputs, frames), -logs.sum(axis=-1), rtol=1e-4)


def test_of_two_candidates_the_one_with_the_drawn_onset_is_kept() -> None:
    head = mixture()
    rng = np.random.default_rng(4)
    for wanted in range(4):
        outputs = rng.normal(0, 1, (4000, N_OUTPUTS)).astype(np.float32)
        outputs[:, TINY.units : TINY.units + 4] = 50 * np.eye(4)[wanted]
        noise = tf.random.stateless_normal([4000, head.n_noise], seed=[5, 6])
        half = 1 + N_MELS
        same = tf.concat([noise[:, :1], noise[:, 1 : 1 + half], noise[:, 1 : 1 + half]], axis=1)
        heard = tf.constant(outputs[:, -N_MELS:])

        def miss(noise: tf.Tensor) -> float:
            drawn = head.draw(tf.constant(outputs), noise, Sampling.at(1.0))  # noqa: B023
            strength = head.onsets.strength(heard, drawn)  # noqa: B023
            return float(np.abs(strength - head.onsets.centres[wanted]).mean())  # noqa: B023

        assert miss(noise) < miss(same)


def test_what_is_drawn_is_of_the_onset_class_that_was_drawn() -> None:
    head = mixture()
    rng = np.random.default_rng(4)
    edges = [-np.inf, *head.onsets.edges.numpy(), np.inf]
    for wanted in range(4):
        outputs = rng.normal(0, 1, (2000, N_OUTPUTS)).astype(np.float32)
        outputs[:, TINY.units : TINY.units + 4] = 50 * np.eye(4)[wanted]
        noise = tf.random.stateless_normal([2000, head.n_noise], seed=[5, 6])
        drawn = head.draw(tf.constant(outputs), noise, Sampling.at(1.0))
        strength = head.onsets.strength(tf.constant(outputs[:, -N_MELS:]), drawn).numpy()
        missing = strength - np.clip(strength, edges[wanted], edges[wanted + 1])
        assert (np.abs(missing) < 0.02).mean() > 0.95


def onsets_drawn(head: MixtureHead, *, sure: float, strength: float) -> np.ndarray:
    """Strengths of drawn onsets, equally likely by the logits, for an onset one beat ago."""
    outputs = np.zeros((4000, N_OUTPUTS), np.float32)
    outputs[:, TINY.units + 4 : TINY.units + 6] = sure, strength
    outputs[:, -N_MELS:] = walk(batch=4000, n_frames=1)[:, 0]
    noise = tf.random.stateless_normal([4000, head.n_noise], seed=[5, 6])
    drawn = head.draw(tf.constant(outputs), noise, Sampling.at(1.0))
    return head.onsets.strength(tf.constant(outputs[:, -N_MELS:]), drawn).numpy()


def test_what_was_a_beat_ago_is_likelier_where_onsets_are_regular() -> None:
    head = mixture()
    head.classifier.layers[-1].bias.assign(tf.zeros(4))
    head.beat_weight = 3.0
    top, bottom = (float(head.onsets.centres[index]) for index in (3, 0))
    none = onsets_drawn(head, sure=0.0, strength=top)
    np.testing.assert_array_equal(onsets_drawn(head, sure=-0.5, strength=top), none)
    some, many = (onsets_drawn(head, sure=sure, strength=top).mean() for sure in (0.3, 1.0))
    assert none.mean() + 0.2 < some < many - 0.2
    assert onsets_drawn(head, sure=1.0, strength=bottom).mean() < none.mean() - 0.5
    head.beat_weight = 0.0
    np.testing.assert_array_equal(onsets_drawn(head, sure=1.0, strength=top), none)


def test_an_echo_is_the_onset_one_beat_before_the_next_frame() -> None:
    """Pulses every 20 frames: the beat is found, and what comes next is known by it."""
    made = model("mixture")
    frames = 0.05 * walk(1, 230)
    frames[:, ::20] += 3.0
    window = tf.constant(frames)
    features, _, _ = made.features.window(window, window[:, :30], None)
    echoes = made.features.echo(features)
    assert echoes is not None
    assert made.onsets is not None
    echo = echoes[0].numpy()
    strengths = made.onsets.strengths(window)[0].numpy()
    late = np.arange(150, 230)
    np.testing.assert_allclose(echo[late, 1], strengths[late + 1 - 20], atol=1e-5)
    assert echo[late, 0].min() > 0.5
    before_pulse = late % 20 == 19
    assert echo[late, 1][before_pulse].min() > echo[late, 1][~before_pulse].max()


@pytest.mark.slow
def test_training_a_mixture_beats_knowing_only_the_walk() -> None:
    """Where the next frame is one of two, the mixture learns which two."""
    rng = np.random.default_rng(0)
    sides = np.sign(rng.normal(size=(32, 54, 1))).astype(np.float32)
    frames = tf.constant(sides + 0.05 * rng.normal(size=(32, 54, N_MELS)).astype(np.float32))
    made = model("mixture", {"mixture_components": 2, "mixture_dims": 1, "onset_weight": 0.0})
    made.prepare([frames.numpy()])
    optimizer = keras.optimizers.Adam(0.03)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(made.head.loss(made(frames[:, :-1]), frames[:, 30:]))
        variables = made.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    losses = [float(step()) for _ in range(150)]
    one_gaussian = 0.5 * np.log(2 * np.pi * np.e)
    assert losses[-1] < one_gaussian - 0.5


def test_a_change_scaled_by_nothing_leaves_the_frame_before() -> None:
    head = mixture()
    outputs = tf.constant(np.random.default_rng(4).normal(0, 1, (50, N_OUTPUTS)), tf.float32)
    noise = tf.random.stateless_normal([50, head.n_noise], seed=[5, 6])
    still = head.draw(outputs, noise, Sampling.at(1.0), change=tf.zeros([50, N_MELS]))
    np.testing.assert_allclose(still, outputs[:, -N_MELS:], atol=1e-6)


def test_settings_say_how_firmly_rollouts_are_held_and_how_much_the_beat_weighs() -> None:
    as_shipped, other = model("mixture").head, model("mixture", hold=0.0, beat_weight=2.0).head
    assert not as_shipped.hold.loose
    assert other.hold.loose
    assert other.beat_weight == 2.0
