"""Compares Nocturne's rollout with two others of the same size.

The original script calls Keras predict on the whole window for every frame. PyTorch, if installed,
runs nn.LSTM frame by frame and carries the state.
"""

from __future__ import annotations

import importlib.util
import pathlib
import tempfile
from typing import Any

import harness

harness.use_one_core()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from audio import contract  # noqa: E402
from trainer.data.transform_graph import fit_transform_graph  # noqa: E402
from trainer.export.saved_model import ServingModule  # noqa: E402
from trainer.model.next_frame import NextFrameModel  # noqa: E402
from trainer.settings import TrainSettings  # noqa: E402

UNITS = 512
N_LAYERS = 2
N_MELS = 128
PRIMER = 50
# Frames of one run: a clip of 10 s. The original is slow, so it generates only a few frames.
FRAMES = 431
ORIGINAL_FRAMES = 8


def main() -> None:
    options = harness.argument_parser(__doc__).parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    settings = TrainSettings(head="mse_frame", units=UNITS, n_layers=N_LAYERS)
    model = NextFrameModel(n_mels=N_MELS, settings=settings)
    with tempfile.TemporaryDirectory() as folder:
        rollout = ServingModule(
            model, transform_graph=_transform_graph(folder), settings=settings
        ).rollout
        original = _original(model)
        rows, bars = [], []
        for batch, bar in ((1, 350.0), (8, 100.0), (32, None)):
            primer = np.random.default_rng(0).normal(-3, 2, (batch, PRIMER, N_MELS))
            primer = primer.astype(np.float32)
            peers = {
                "Nocturne": lambda primer=primer: rollout(
                    primer, primer, FRAMES, 0.5, 0.5, 0.0, tf.range(len(primer), dtype=tf.int64)
                ),
                "original": lambda primer=primer: _predict_per_frame(original, primer),
            }
            if importlib.util.find_spec("torch"):
                peers["PyTorch nn.LSTM"] = _torch_loop(batch)
            medians = harness.time_in_turn(peers, rounds=options.rounds, clock=harness.cpu_time)
            frames = dict.fromkeys(medians, FRAMES) | {"original": ORIGINAL_FRAMES}
            rates = {name: frames[name] / seconds for name, seconds in medians.items()}
            ratios = {name: rate / rates["original"] for name, rate in rates.items()}
            rows += [[name, batch, rates[name], ratios[name]] for name in rates]
            if bar:
                ratio = ratios["Nocturne"]
                bars.append((f"rollout_batch_{batch}", ratio, "predict per frame", bar))
            if "PyTorch nn.LSTM" in rates:
                ratio = rates["Nocturne"] / rates["PyTorch nn.LSTM"]
                bars.append((f"rollout_torch_batch_{batch}", ratio, "PyTorch nn.LSTM", 1.0))
    print(f"rollout of {N_LAYERS} x {UNITS}, {N_MELS} mels, one core, median of {options.rounds}")
    harness.print_table(["", "batch", "frames per second", "ratio"], rows)
    harness.check_bars(bars)


def _original(model: NextFrameModel) -> keras.Model:
    """Returns the original network, keras.layers.LSTM and Dense, with the weights of a model."""
    layers = [keras.Input((PRIMER, N_MELS))]
    layers += [keras.layers.LSTM(UNITS, return_sequences=index < N_LAYERS - 1)
               for index in range(N_LAYERS)]  # fmt: skip
    original = keras.Sequential([*layers, keras.layers.Dense(N_MELS)])
    for source, target in zip([*model.lstm.stack, model.head.linear], original.layers, strict=True):
        target.set_weights(source.get_weights())
    return original


def _predict_per_frame(original: keras.Model, primer: np.ndarray) -> np.ndarray:
    window = primer
    for _ in range(ORIGINAL_FRAMES):
        frame = original.predict(window, verbose=0)
        window = np.concatenate([window[:, 1:], frame[:, None]], axis=1)
    return window


def _torch_loop(batch: int) -> Any:
    import torch

    torch.set_num_threads(1)
    lstm = torch.nn.LSTM(N_MELS, UNITS, N_LAYERS)
    linear = torch.nn.Linear(UNITS, N_MELS)

    @torch.inference_mode()
    def run() -> None:
        frame, state = torch.zeros(1, batch, N_MELS), None
        for _ in range(FRAMES):
            hidden, state = lstm(frame, state)
            frame = linear(hidden)

    return run


def _transform_graph(folder: str) -> str:
    """Returns the path of a Transform graph of random frames, which do not influence the speed."""
    from beam_transforms.example_proto import serialize_example

    frames = np.random.default_rng(0).normal(-3, 2, (64, N_MELS)).astype("<f2")
    path = pathlib.Path(folder, "records.tfrecord")
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(serialize_example({contract.LOG_MEL: frames.tobytes()}))
    graph = f"{folder}/graph"
    fit_transform_graph(
        str(path), graph, custom_config={"n_mels": N_MELS, "model_floor": -8.0}, temporary=folder
    )
    return graph


if __name__ == "__main__":
    main()
