"""Measures generation from seeds to files: seconds of audio per CPU second, and memory.

The model is an LSTM of 2 x 512 units on 128 mels, clips have ten seconds, and everything runs on
one core. Loading the model and compiling its rollout happen once per process and are not counted.
"""

from __future__ import annotations

import json
import pathlib
import tempfile
import time

import harness

harness.use_one_core()

import bench_rollout  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from generator import generate  # noqa: E402
from generator.requests import GenerateSettings  # noqa: E402
from trainer.data.windows import Dataset, Primer  # noqa: E402
from trainer.export import saved_model  # noqa: E402
from trainer.model.next_frame import NextFrameModel  # noqa: E402
from trainer.settings import TrainSettings  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
# Length of a clip, seconds.
SECONDS = 10
# Numbers of clips of the two runs that are compared.
FEW = 50
MANY = 1000
# Lengths of the two long clips that are compared, seconds.
TEN_MINUTES = 600
HOUR = 3600


def main() -> None:
    parser = harness.argument_parser(__doc__)
    parser.add_argument(
        "--clips", type=int, default=MANY, help="number of clips of the longest run"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = _model(pathlib.Path(folder))
        started = time.perf_counter()
        _run(model, f"{folder}/warm", 8)
        start_up = time.perf_counter() - started
        few, few_memory = _run(model, f"{folder}/few", FEW)
        many, many_memory = _run(model, f"{folder}/many", options.clips)
        long = {
            seconds: harness.run_in_process(_run, model, f"{folder}/{seconds}", 1, seconds)
            for seconds in (TEN_MINUTES, HOUR)
        }
    rates = {FEW: FEW * SECONDS / few, options.clips: options.clips * SECONDS / many}
    print(f"start-up and the first 8 clips: {start_up:.1f} s")
    harness.print_table(
        ["clips", "CPU seconds", "audio per CPU second", "memory, MB"],
        [
            [FEW, few, rates[FEW], few_memory],
            [options.clips, many, rates[options.clips], many_memory],
        ],
    )
    harness.print_table(
        ["one clip, seconds", "CPU seconds", "audio per CPU second", "memory, MB"],
        [[length, cpu, length / cpu, memory] for length, (cpu, memory) in long.items()],
    )
    harness.check_bars(
        [
            ("generate", rates[options.clips], "seconds of audio per CPU second", 50),
            ("generate_growth", rates[options.clips] / rates[FEW], "linear growth", 0.9),
            ("generate_memory", few_memory / many_memory, "flat memory", 0.9),
            (
                "generate_hour_memory",
                long[TEN_MINUTES][1] / long[HOUR][1],
                "ten minutes' memory",
                0.9,
            ),
        ]
    )


def _run(
    model: pathlib.Path, output: str, clips: int, seconds: float = SECONDS
) -> tuple[float, float]:
    """Returns the CPU seconds of a run, and the peak memory of the process so far, MB."""
    started = harness.cpu_time()
    # Random weights make no music, so faulty clips must not be attempted again.
    settings = GenerateSettings(
        clips=clips, seconds=seconds, attempts=1, max_unhealthy_share=0.0, temperature=1.0
    )
    manifest = generate.run(model_path=str(model), output=output, settings=settings)
    assert len(manifest["clips"]) == clips
    spent = harness.cpu_time() - started
    return spent, harness.peak_memory_mb()


def _model(folder: pathlib.Path) -> pathlib.Path:
    """Exports a model with random weights, whose rollouts are a random walk around its primers."""
    import keras

    from audio.config import AudioConfig

    keras.utils.set_random_seed(0)
    settings = TrainSettings(head="mse", units=bench_rollout.UNITS, n_layers=bench_rollout.N_LAYERS)
    model = NextFrameModel(n_mels=bench_rollout.N_MELS, settings=settings)
    model.head.calibrate(tf.fill([bench_rollout.N_MELS], 0.05))
    rng = np.random.default_rng(0)
    frames = rng.normal(-3, 2, (4, 64, bench_rollout.N_MELS)).astype(np.float32)
    source = json.dumps({"recording_id": "0" * 64, "first_frame": 0, "uri": ""})
    saved_model.cut_primers = lambda *_, **__: [
        Primer(log_mel=primer, source=source) for primer in frames
    ]
    saved_model.export_model(
        model,
        path=str(folder / "model"),
        dataset=Dataset(path="", audio=AudioConfig(), info={"dataset_id": "0" * 12}),
        transform_graph=bench_rollout._transform_graph(str(folder)),
        settings=settings,
        history={"epochs": [], "best": {}},
        effective_config="",
    )
    return folder / "model"


if __name__ == "__main__":
    main()
