"""The Transform graph: mean, deviation and maximum of each mel band over the training split.

Its outputs are those vectors, not normalised frames: frames would be stored a second time, and a
rollout needs the way back from normalised values too. The graph travels into the SavedModel.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from audio import contract

# What a model needs of a record, as tf.io.parse_example takes it.
RAW_FEATURES = {contract.LOG_MEL: tf.io.FixedLenFeature([], tf.string)}
# A band that hardly changes while training is divided by this instead, nats: what is held out may
# well have sound there, and should not become a thousand deviations.
MIN_STD = 0.1
# Of these sums are made. Beam's own sizes follow from how long the last batches took, and sums of
# other batches differ in their last bits: no fit would be the same twice. 32 take some 8 MB.
_BATCH_RECORDS = 32


def decode_frames(log_mel: tf.Tensor, *, n_mels: int) -> tf.Tensor:
    """Returns the frames of a batch of records one after the other, float32 [n_frames, n_mels].

    Args:
      log_mel: string [batch]: little-endian float16 [n, n_mels] each, n differing.
      n_mels: mel bands.
    """
    # decode_raw wants equal lengths; joined bytes have but one.
    frames = tf.io.decode_raw(tf.strings.reduce_join(log_mel), tf.float16, little_endian=True)
    return tf.reshape(tf.cast(frames, tf.float32), [-1, n_mels])


def preprocessing_fn(
    inputs: Mapping[str, tf.Tensor], custom_config: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """The function that TensorFlow Transform traces.

    Args:
      inputs: a batch of records.
      custom_config: `n_mels` and `model_floor`.

    Returns:
      mel_mean, mel_std and mel_max, float32 [batch, n_mels], the same in every row.
    """
    log_mel = tf.reshape(inputs[contract.LOG_MEL], [-1])
    frames = decode_frames(log_mel, n_mels=custom_config["n_mels"])
    frames = tf.maximum(frames, tf.constant(custom_config["model_floor"], tf.float32))
    mean = tft.mean(frames, reduce_instance_dims=False)
    std = tf.maximum(tf.sqrt(tft.var(frames, reduce_instance_dims=False)), MIN_STD)
    vectors = {
        contract.MEL_MEAN: mean,
        contract.MEL_STD: std,
        contract.MEL_MAX: tft.max(frames, reduce_instance_dims=False),
    }
    rows, n_mels = tf.shape(log_mel)[0], custom_config["n_mels"]
    return {
        name: tf.ensure_shape(tf.tile(vector[None], [rows, 1]), [None, n_mels])
        for name, vector in vectors.items()
    }


def fit_transform_graph(
    records: str, output: str, *, custom_config: Mapping[str, Any], temporary: str
) -> None:
    """Fits the Transform graph without TFX, as its Transform component would.

    Args:
      records: glob of the training split's TFRecord files.
      output: a folder for the graph; tft.TFTransformOutput reads it.
      custom_config: as preprocessing_fn's.
      temporary: a folder for what Beam writes on the way.
    """
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import schema_utils
    from tfx_bsl.public import tfxio

    # Only the feature that the graph reads, not identifiers and figures.
    schema = schema_utils.schema_from_feature_spec(RAW_FEATURES)
    source = tfxio.TFExampleRecord(records, telemetry_descriptors=["nocturne"], schema=schema)
    traced = functools.partial(preprocessing_fn, custom_config=custom_config)
    with (
        beam.Pipeline(runner="FnApiRunner") as pipeline,
        tft_beam.Context(temp_dir=str(pathlib.Path(temporary).resolve())),
    ):
        data = pipeline | source.BeamSource(_BATCH_RECORDS)
        graph = (data, source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(traced)
        graph | tft_beam.WriteTransformFn(output)
