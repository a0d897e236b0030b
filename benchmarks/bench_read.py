"""Compares the speed of reading shuffled windows with that of the training step on them."""

from __future__ import annotations

import pathlib
import tempfile

import harness

harness.use_one_core()

import tensorflow as tf  # noqa: E402

from audio.config import AudioConfig  # noqa: E402
from beam_transforms import prepare  # noqa: E402
from beam_transforms.settings import PrepareSettings  # noqa: E402
from beam_transforms.sources import find_sources  # noqa: E402
from trainer.data.windows import open_dataset, training_windows  # noqa: E402
from trainer.fit.devices import resolve_strategy  # noqa: E402
from trainer.fit.steps import CompiledSteps  # noqa: E402
from trainer.settings import TrainSettings  # noqa: E402

# Batches that are read, and training steps, in one round.
BATCHES = 200
STEPS = 4


def main() -> None:
    options = harness.argument_parser(__doc__).parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    settings = TrainSettings()
    with tempfile.TemporaryDirectory() as folder:
        recordings, _ = harness.link_recordings(options.audio, pathlib.Path(folder))
        prepare.run(
            sources=find_sources([str(path) for path in recordings]),
            output=f"{folder}/dataset",
            audio=AudioConfig(),
            settings=PrepareSettings(),
        )
        windows = training_windows(
            open_dataset(f"{folder}/dataset"),
            window_frames=settings.window_frames,
            anchor_frames=settings.anchor,
            batch_windows=settings.batch_windows,
            seed=0,
        )
        batches = iter(windows)
        steps = CompiledSteps(resolve_strategy("cpu"), AudioConfig().n_mels, settings)
        batch, number = next(batches), tf.constant(1, tf.int64)
        medians = harness.time_in_turn(
            {
                "reading": lambda: [next(batches) for _ in range(BATCHES)],
                "training": lambda: [
                    float(steps.train_step(batch, number)[0]) for _ in range(STEPS)
                ],
            },
            rounds=options.rounds,
            clock=harness.cpu_time,
        )
    read, trained = BATCHES / medians["reading"], STEPS / medians["training"]
    size = f"{settings.batch_windows} x {settings.window_frames} x 128"
    print(f"batches of {size}, per second of CPU time")
    harness.print_table(["", "batches/s"], [["reading", read], ["training step", trained]])
    harness.check_bars([("read_back", read / trained, "training step", 10)])


if __name__ == "__main__":
    main()
