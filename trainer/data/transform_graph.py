"""The Transform graph: mean, deviation and maximum of each mel band over the training split.

It outputs these vectors and not normalised frames, for two reasons: normalised frames would store
the dataset a second time, and a rollout also needs the way back to log-mel. The graph is exported
inside the SavedModel.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from audio import contract

# The features of a record that a model needs, as tf.io.parse_example takes them.
RAW_FEATURES = {contract.LOG_MEL: tf.io.FixedLenFeature([], tf.string)}
# Lower limit of a band's deviation, nats. A band that hardly changes in the training split may
# contain sound in held-out recordings, which must not become a thousand deviations.
MIN_STD = 0.1
# Records in one batch of Beam's. Beam would choose sizes by how long earlier batches took, and sums
# over other batches differ in their last bits, so that no graph could be fitted twice. 32 records
# take about 8 MB.
_BATCH_RECORDS = 32


def decode_frames(log_mel: tf.Tensor, *, n_mels: int) -> tf.Tensor:
    """Returns the frames of a batch of records one after the other, float32 [n_frames, n_mels].

    Args:
      log_mel: String [batch]: little-endian float16 [n, n_mels] in each record; n may differ.
      n_mels: Number of mel bands.
    """
    # decode_raw needs strings of equal length, so all are joined into one.
    frames = tf.io.decode_raw(tf.strings.reduce_join(log_mel), tf.float16, little_endian=True)
    return tf.reshape(tf.cast(frames, tf.float32), [-1, n_mels])


def preprocessing_fn(
    inputs: Mapping[str, tf.Tensor], custom_config: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """Computes the vectors; TensorFlow Transform traces this function.

    Args:
      inputs: A batch of records.
      custom_config: `n_mels` and `model_floor`.

    Returns:
      mel_mean, mel_std and mel_max, float32 [batch, n_mels], the same in every row.
    """
    n_mels = custom_config["n_mels"]
    log_mel = tf.reshape(inputs[contract.LOG_MEL], [-1])
    frames = decode_frames(log_mel, n_mels=n_mels)
    frames = tf.maximum(frames, tf.constant(custom_config["model_floor"], tf.float32))
    std = tf.sqrt(tft.var(frames, reduce_instance_dims=False))
    vectors = {
        contract.MEL_MEAN: tft.mean(frames, reduce_instance_dims=False),
        contract.MEL_STD: tf.maximum(std, MIN_STD),
        contract.MEL_MAX: tft.max(frames, reduce_instance_dims=False),
    }
    n_records = tf.shape(log_mel)[0]
    return {
        name: tf.ensure_shape(tf.tile(vector[None], [n_records, 1]), [None, n_mels])
        for name, vector in vectors.items()
    }


def fit_transform_graph(
    records: str, output: str, *, custom_config: Mapping[str, Any], temporary: str
) -> None:
    """Fits the Transform graph without TFX, as TFX's Transform component would.

    Args:
      records: Pattern of the training split's TFRecord files (see files.plain_path).
      output: Folder for the graph, which tft.TFTransformOutput reads.
      custom_config: `n_mels` and `model_floor`, as for preprocessing_fn.
      temporary: Folder for Beam's temporary files.
    """
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import schema_utils
    from tfx_bsl.public import tfxio

    # The schema has only the feature that the graph reads, not the record's identifiers.
    schema = schema_utils.schema_from_feature_spec(RAW_FEATURES)
    source = tfxio.TFExampleRecord(records, telemetry_descriptors=["nocturne"], schema=schema)
    traced = functools.partial(preprocessing_fn, custom_config=custom_config)
    with (
        beam.Pipeline(runner="FnApiRunner") as pipeline,
        tft_beam.Context(temp_dir=str(pathlib.Path(temporary).absolute())),
    ):
        data = pipeline | source.BeamSource(_BATCH_RECORDS)
        graph = (data, source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(traced)
        graph | tft_beam.WriteTransformFn(output)
