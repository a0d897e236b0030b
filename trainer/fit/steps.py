"""The model, its optimiser and their compiled training and evaluation steps."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.model.next_frame import NextFrameModel
from trainer.settings import CLIP_NORM, TrainSettings
from trainer.tf_function import graph_function


class CompiledSteps:
    """A model and its optimiser on the devices of a strategy, with their compiled steps.

    All random numbers of a step depend only on the run's seed, the step and the replica, so a step
    that is repeated gives the same result.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy, n_mels: int, settings: TrainSettings
    ) -> None:
        self._strategy, self._settings = strategy, settings
        with strategy.scope():
            self.model = NextFrameModel(n_mels=n_mels, settings=settings)
            self.optimizer = keras.optimizers.AdamW(
                _schedule(settings), weight_decay=settings.weight_decay
            )
            self.optimizer.build(self.model.trainable_variables)
        self._eval_step = graph_function(
            self._eval_losses, input_signature=[tf.TensorSpec([None, None, n_mels], tf.float32)]
        )

    @property
    def n_devices(self) -> int:
        """Number of devices that share each batch."""
        return int(self._strategy.num_replicas_in_sync)

    def distribute(self, batches: tf.data.Dataset) -> Any:
        """Returns a dataset whose batches are split over the devices."""
        if self.n_devices == 1:
            return batches
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        return self._strategy.experimental_distribute_dataset(batches.with_options(options))

    @graph_function
    def train_step(self, batch: Any, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes one optimiser step on normalised windows.

        Args:
          batch: float32 [batch, anchor + window_frames, n_mels], or a batch from `distribute`.
          step: Number of the step, int64 [], from 1.

        Returns:
          The loss, and the global norm of the gradients before clipping.
        """
        return self._step(batch, step)

    @graph_function
    def train_steps(
        self, batches: Any, first: tf.Tensor, count: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes several steps without returning to Python, as a TPU needs for speed.

        Args:
          batches: An iterator over what `distribute` returns.
          first: Number of the first step, int64 [].
          count: Number of steps, int32 [].

        Returns:
          Losses and norms, float32 [count] each.
        """

        def body(
            index: tf.Tensor, losses: tf.TensorArray, norms: tf.TensorArray
        ) -> tuple[Any, ...]:
            loss, norm = self._step(next(batches), first + tf.cast(index, tf.int64))
            return index + 1, losses.write(index, loss), norms.write(index, norm)

        empty = [tf.TensorArray(tf.float32, count) for _ in range(2)]
        _, losses, norms = tf.while_loop(
            lambda index, *_: index < count, body, (tf.constant(0), *empty)
        )
        return losses.stack(), norms.stack()

    def _step(self, batch: Any, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        losses, norms = self._strategy.run(self.train_on_device, args=(batch, step))
        total = self._strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)
        return total, self._strategy.reduce(tf.distribute.ReduceOp.MEAN, norms, axis=None)

    def train_on_device(self, batch: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes one replica's share of a step; returns its share of the loss and the full norm."""
        replica = tf.distribute.get_replica_context()
        index = tf.cast(replica.replica_id_in_sync_group, tf.int64)
        seed = tf.stack([tf.constant(self._settings.seed, tf.int64), step * self.n_devices + index])
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self._losses(batch, seed)) / self.n_devices
        gradients = tape.gradient(loss, variables)
        if self.n_devices > 1:
            gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        gradients, norm = tf.clip_by_global_norm(gradients, CLIP_NORM)
        # Keras will sum the gradients of all replicas, but each already holds the sum.
        shares = [gradient / self.n_devices for gradient in gradients]
        self.optimizer.apply(shares, variables)
        return loss, norm

    def _losses(self, batch: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        """Returns the loss of each prediction, float32 [batch, n_frames]."""
        outputs = self.model(batch[:, :-1], seed)
        return self.model.head.loss(outputs, batch[:, self.model.anchor_frames :])

    def _eval_losses(self, batch: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each window, float32 [batch]."""
        return tf.reduce_mean(self._losses(batch, None), axis=1)

    def evaluate(self, batches: tf.data.Dataset) -> float:
        """Returns the mean loss over batches of normalised windows."""
        return float(np.mean(np.concatenate([self._eval_step(batch) for batch in batches])))


def _schedule(settings: TrainSettings) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns a linear warm-up over 5% of the steps, then a cosine down to 2% of the peak."""
    warm_up = max(1, settings.steps // 20)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, settings.steps - warm_up),
        warmup_target=settings.learning_rate,
        warmup_steps=warm_up,
        alpha=0.02,
    )
