"""Our rollout against the original's way: Keras predict on the whole window for every frame.

And against PyTorch's nn.LSTM, frame by frame with carried state, where torch is installed.
"""

from __future__ import annotations

import importlib.util
import pathlib
import tempfile
from typing import Any

import harness

harness.one_core()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from audio import contract  # noqa: E402
from trainer.data.transform_graph import fit_transform_graph  # noqa: E402
from trainer.export.saved_model import ServingModule  # noqa: E402
from trainer.model.next_frame import NextFrameModel  # noqa: E402
from trainer.settings import TrainSettings  # noqa: E402

UNITS, N_LAYERS, N_MELS, PRIMER = 512, 2, 128, 50
OURS, THEIRS = 431, 8  # frames of one run; a clip of 10 s, and as many as patience allows


def main() -> None:
    options = harness.parser(__doc__).parse_args()
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
                "ours": lambda primer=primer: rollout(
                    primer, primer, OURS, 0.5, 0.5, 0.0, tf.range(len(primer), dtype=tf.int64)
                ),
                "original": lambda primer=primer: _slide(original, primer),
            }
            if importlib.util.find_spec("torch"):
                peers["PyTorch nn.LSTM"] = _torch_loop(batch)
            medians = harness.in_turn(peers, rounds=options.rounds, clock=harness.cpu_time)
            frames = {"ours": OURS, "original": THEIRS, "PyTorch nn.LSTM": OURS}
            rates = {name: frames[name] / each for name, each in medians.items()}
            ours, theirs = rates["ours"], rates["original"]
            rows += [[name, batch, rate, rate / theirs] for name, rate in rates.items()]
            if bar:
                bars.append((f"rollout_batch_{batch}", ours / theirs, "predict per frame", bar))
            if "PyTorch nn.LSTM" in rates:
                ratio = ours / rates["PyTorch nn.LSTM"]
                bars.append((f"rollout_torch_batch_{batch}", ratio, "PyTorch nn.LSTM", 1.0))
    print(f"rollout of {N_LAYERS} x {UNITS}, {N_MELS} mels, one core, median of {options.rounds}")
    harness.table(["", "batch", "steps per second", "of the original"], rows)
    harness.report(bars)


def _original(model: NextFrameModel) -> keras.Model:
    """The seed's network: stacked keras.layers.LSTM and Dense, with our weights."""
    layers = [keras.Input((PRIMER, N_MELS))]
    layers += [keras.layers.LSTM(UNITS, return_sequences=index < N_LAYERS - 1)
               for index in range(N_LAYERS)]  # fmt: skip
    original = keras.Sequential([*layers, keras.layers.Dense(N_MELS)])
    for ours, theirs in zip([*model.lstm.stack, model.head.linear], original.layers, strict=True):
        theirs.set_weights(ours.get_weights())
    return original


def _slide(original: keras.Model, primer: np.ndarray) -> np.ndarray:
    window = primer
    for _ in range(THEIRS):
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
        for _ in range(OURS):
            hidden, state = lstm(frame, state)
            frame = linear(hidden)

    return run


def _transform_graph(folder: str) -> str:
    """A Transform graph over a few random frames: the rollout's speed does not hang on them."""
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
