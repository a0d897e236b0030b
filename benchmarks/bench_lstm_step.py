"""A training step of the LSTM: ours, Keras's own layer, and PyTorch's where it is installed.

Stacked 2 x 512 over 32 windows of 128 frames x 128 mels: forward, mean squared error, gradients.
`pip install torch` into the environment adds that peer.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from typing import Any

import harness

CORES = (1, 2)
BATCH, FRAMES, MELS, UNITS, LAYERS, STEPS = 32, 128, 128, 512, 2, 2


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--cores", type=int, help="run on this many, in this process")
    options = parser.parse_args()
    if options.cores is None:
        # Thread pools are made once a process: each number of cores has one of its own.
        available = len(os.sched_getaffinity(0))
        command = [sys.executable, __file__, "--rounds", str(options.rounds)]
        codes = [
            subprocess.run([*command, "--cores", str(n)], check=False).returncode
            for n in CORES
            if n <= available
        ]
        sys.exit(max(codes))
    _measure(options.cores, options.rounds)


def _measure(cores: int, rounds: int) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(cores)
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from trainer.model.lstm import StackedLSTM

    frames = tf.random.stateless_normal([BATCH, FRAMES, MELS], seed=[1, 2])
    stack = StackedLSTM(UNITS, LAYERS)
    stack.build((None, None, MELS))
    layers = [keras.layers.LSTM(UNITS, return_sequences=True) for _ in range(LAYERS)]
    stock = keras.Sequential([keras.Input((FRAMES, MELS)), *layers])

    def step(model: keras.layers.Layer) -> tuple[Any, float]:
        @tf.function
        def take(batch: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(batch)))
            return tape.gradient(loss, model.trainable_variables)

        started = time.perf_counter()
        take(frames)
        return take, time.perf_counter() - started

    (ours, our_compilation), (theirs, their_compilation) = step(stack), step(stock)
    peers = {
        "ours": lambda: [ours(frames) for _ in range(STEPS)],
        "Keras LSTM": lambda: [theirs(frames) for _ in range(STEPS)],
    }
    if importlib.util.find_spec("torch"):
        peers["PyTorch nn.LSTM"] = _torch_peer(cores)
    medians = harness.in_turn(peers, rounds=rounds, clock=harness.wall_time)
    print(f"{LAYERS} x {UNITS}, {BATCH} windows of {FRAMES} x {MELS}, {cores} core(s)")
    harness.table(
        ["", "seconds a step", "of ours"],
        [[name, each / STEPS, medians["ours"] / each] for name, each in medians.items()],
    )
    print(f"first call: ours {our_compilation:.1f} s, Keras {their_compilation:.1f} s")
    bars = [(f"lstm_step_{cores}", medians["Keras LSTM"] / medians["ours"], "Keras LSTM", 1.4)]
    if "PyTorch nn.LSTM" in medians:
        ratio = medians["PyTorch nn.LSTM"] / medians["ours"]
        bars.append((f"lstm_step_torch_{cores}", ratio, "PyTorch nn.LSTM", 0.9))
    harness.report(bars)


def _torch_peer(cores: int) -> Any:
    import torch

    torch.set_num_threads(cores)
    lstm = torch.nn.LSTM(MELS, UNITS, LAYERS, batch_first=True)
    frames = torch.randn(BATCH, FRAMES, MELS)

    def take() -> None:
        for _ in range(STEPS):
            lstm.zero_grad()
            lstm(frames)[0].square().mean().backward()

    return take


if __name__ == "__main__":
    main()
