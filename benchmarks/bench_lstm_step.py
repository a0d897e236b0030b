"""Compares a training step of Nocturne's LSTM with keras.layers.LSTM, and PyTorch if installed.

A step is the forward pass, the mean squared error and the gradients of two layers of 512 units,
over 32 windows of 128 frames x 128 mels.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from typing import Any

import harness

# Numbers of cores to measure on.
CORES = (1, 2)
BATCH = 32
FRAMES = 128
MELS = 128
UNITS = 512
LAYERS = 2
# Steps in one round.
STEPS = 2


def main() -> None:
    parser = harness.argument_parser(__doc__)
    parser.add_argument("--cores", type=int, help="measure on this number of cores only")
    options = parser.parse_args()
    if options.cores is None:
        # Thread pools are created once per process, so each number of cores needs its own process.
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
    keras_stack = keras.Sequential([keras.Input((FRAMES, MELS)), *layers])

    def compile_step(model: keras.layers.Layer) -> tuple[Any, float]:
        """Returns the step, and the seconds of its first call."""

        @tf.function
        def step(batch: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(batch)))
            return tape.gradient(loss, model.trainable_variables)

        started = time.perf_counter()
        step(frames)
        return step, time.perf_counter() - started

    nocturne_step, nocturne_seconds = compile_step(stack)
    keras_step, keras_seconds = compile_step(keras_stack)
    peers = {
        "Nocturne": lambda: [nocturne_step(frames) for _ in range(STEPS)],
        "Keras LSTM": lambda: [keras_step(frames) for _ in range(STEPS)],
    }
    if importlib.util.find_spec("torch"):
        peers["PyTorch nn.LSTM"] = _torch_peer(cores)
    medians = harness.time_in_turn(peers, rounds=rounds, clock=harness.wall_time)
    print(f"{LAYERS} x {UNITS}, {BATCH} windows of {FRAMES} x {MELS}, {cores} core(s)")
    harness.print_table(
        ["", "seconds per step", "ratio"],
        [[name, spent / STEPS, spent / medians["Nocturne"]] for name, spent in medians.items()],
    )
    print(f"first call: Nocturne {nocturne_seconds:.1f} s, Keras {keras_seconds:.1f} s")
    bars = [(f"lstm_step_{cores}", medians["Keras LSTM"] / medians["Nocturne"], "Keras LSTM", 1.4)]
    if "PyTorch nn.LSTM" in medians:
        ratio = medians["PyTorch nn.LSTM"] / medians["Nocturne"]
        bars.append((f"lstm_step_torch_{cores}", ratio, "PyTorch nn.LSTM", 0.9))
    harness.check_bars(bars)


def _torch_peer(cores: int) -> Any:
    import torch

    torch.set_num_threads(cores)
    lstm = torch.nn.LSTM(MELS, UNITS, LAYERS, batch_first=True)
    frames = torch.randn(BATCH, FRAMES, MELS)

    def run() -> None:
        for _ in range(STEPS):
            lstm.zero_grad()
            lstm(frames)[0].square().mean().backward()

    return run


if __name__ == "__main__":
    main()
