"""The TensorBoard files of a training run."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from audio import contract
from trainer.fit import tensorboard
from trainer.fit.tensorboard import TensorBoardWriter


def read_events(folder: pathlib.Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return events


def test_draw_picture_is_grey_with_the_bass_at_the_bottom() -> None:
    frames = np.array([[-1.0, -8.0, -30.0], [-15.0, -1.0, -1.0]], np.float32)
    picture = tensorboard._draw_picture(frames, top=-1.0)
    assert picture.shape == (1, 3, 2, 1)
    assert picture[0, :, :, 0].tolist() == [[0, 1], [0.5, 1], [1, 0]]


def test_write_without_a_recording_long_enough_writes_scalars(
    opened, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(tensorboard, "_PRIMER_SECONDS", 100.0)
    writer = TensorBoardWriter(str(tmp_path), opened, None)  # type: ignore[arg-type]
    for step, loss in ((10, 0.5), (20, 0.25)):
        writer.write(None, {"step": step, "loss": loss})  # type: ignore[arg-type]
    events = read_events(tmp_path)
    assert events.Tags()["tensors"] == ["loss"]
    losses = [(event.step, tf.make_ndarray(event.tensor_proto)) for event in events.Tensors("loss")]
    assert losses == [(10, 0.5), (20, 0.25)]


@pytest.mark.slow
def test_write_during_training(model) -> None:
    events = read_events(model / contract.TENSORBOARD)
    names = set(events.Tags()["tensors"])
    assert {"loss", "eval_loss", "gradient_norm", "learning_rate"} <= names
    assert {"real", "next_frame", "free_run", "free_run_sound"} <= names
    (first, *_) = events.Tensors("free_run_sound")
    sound, _label = tf.make_ndarray(first.tensor_proto)[0]
    samples, sample_rate = tf.audio.decode_wav(sound)
    assert sample_rate == 22050
    assert float(tf.reduce_max(tf.abs(samples))) > 1e-4
    history = json.loads((model / contract.HISTORY).read_text())
    losses = [tf.make_ndarray(event.tensor_proto) for event in events.Tensors("loss")]
    np.testing.assert_allclose(losses, [row["loss"] for row in history["epochs"]], rtol=1e-6)
