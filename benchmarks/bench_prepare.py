"""Compares preparation, from file to records, with the original script and with a plain loop.

It runs on one core. It also compares the Beam job with a loop over the same functions, and measures
the size of a dataset and the memory for a long file.
"""

from __future__ import annotations

import io
import pathlib
import tempfile

import harness

harness.use_one_core()

import librosa  # noqa: E402
import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import soxr  # noqa: E402
import tensorflow as tf  # noqa: E402

from audio.config import AudioConfig  # noqa: E402
from beam_transforms import prepare, staging  # noqa: E402
from beam_transforms.examples import write_tfrecord  # noqa: E402
from beam_transforms.settings import PrepareSettings  # noqa: E402
from beam_transforms.sources import find_sources  # noqa: E402

CONFIG = AudioConfig()
SETTINGS = PrepareSettings()
# Total duration of the recordings.
MINUTES = 10
# The original script is slow, so it prepares only this much of one recording, seconds.
ORIGINAL_SECONDS = 20
# Frames of the original script's inputs, and of its targets.
WINDOW = 50


def main() -> None:
    options = harness.argument_parser(__doc__).parse_args()
    paths, seconds = [], 0.0
    for path in harness.find_recordings(options.audio):
        paths.append(path)
        seconds += soundfile.info(str(path)).duration
        if seconds > MINUTES * 60:
            break
    medians = harness.time_in_turn(
        {
            "only decoding": lambda: [decode(path) for path in paths],
            "Nocturne": lambda: stage(paths),
            "plain loop": lambda: [plain(path) for path in paths],
            "original (20 s)": lambda: original(paths[0]),
        },
        rounds=options.rounds,
        clock=harness.cpu_time,
    )
    speed = {name: seconds / cpu for name, cpu in medians.items()}
    speed["original (20 s)"] = ORIGINAL_SECONDS / medians["original (20 s)"]
    print(f"{seconds / 60:.1f} minutes of {paths[0].suffix}, one core, median of {options.rounds}")
    harness.print_table(
        ["", "times real time", "share of decoding"],
        [[name, rate, f"{rate / speed['only decoding']:.0%}"] for name, rate in speed.items()],
    )
    with tempfile.TemporaryDirectory() as folder:
        recordings, seconds = harness.link_recordings(options.audio, pathlib.Path(folder))
        jobs = harness.time_in_turn(
            {"loop": lambda: stage(recordings), "Beam": lambda: beam_job(recordings)},
            rounds=options.rounds,
            clock=harness.cpu_time,
        )
        info = beam_job(recordings)
    stored = sum(split["bytes"] for split in info["splits"].values())
    kept = sum(split["seconds"] for split in info["splits"].values())
    for name, cpu in jobs.items():
        print(f"{name}: {seconds / cpu:.0f} times real time on {seconds / 60:.0f} minutes")
    print(f"{stored / kept / 1000:.2f} kB on disk per second of audio")
    harness.check_bars(
        [
            (
                "prepare_original",
                speed["Nocturne"] / speed["original (20 s)"],
                "original script",
                35,
            ),
            (
                "prepare_plain_loop",
                medians["plain loop"] / medians["Nocturne"],
                "soundfile+soxr+librosa",
                1.2,
            ),
            ("prepare_beam", 1.3 * jobs["loop"] / jobs["Beam"], "1.3 x the loop, an hour", 1.0),
            ("prepare_disk", 12.0 / (stored / kept / 1000), "12 kB per second", 1.0),
            ("prepare_flat_memory", flat_memory(), "200 MB for two hours", 1.0),
        ]
    )


def decode(path: pathlib.Path) -> None:
    with soundfile.SoundFile(path) as sound:
        while len(sound.read(1 << 16, dtype="float32")):
            pass


def stage(paths: list[pathlib.Path]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for source in find_sources([str(path) for path in paths]):
            staging.stage_recording(source, staging=folder, audio=CONFIG, settings=SETTINGS)


def beam_job(paths: list[pathlib.Path]) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        return prepare.run(
            sources=find_sources([str(path) for path in paths]),
            output=f"{folder}/dataset",
            audio=CONFIG,
            settings=SETTINGS,
        )


def plain(path: pathlib.Path) -> None:
    """Prepares a recording in the obvious way: the right libraries, and one chunk per record."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate, CONFIG.sample_rate)
    power = librosa.feature.melspectrogram(y=mono, sr=CONFIG.sample_rate)
    frames = librosa.power_to_db(power, top_db=None).T.astype(np.float16)
    file = io.BytesIO()
    for first in range(0, len(frames), SETTINGS.chunk_frames):
        chunk = frames[first : first + SETTINGS.chunk_frames].tobytes()
        value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[chunk]))
        example = tf.train.Example(features=tf.train.Features(feature={"log_mel": value}))
        write_tfrecord(file, example.SerializeToString())


def original(path: pathlib.Path) -> None:
    """Prepares a recording like the original script: input and target for every start index."""
    samples, rate = librosa.load(path, sr=CONFIG.sample_rate, duration=ORIGINAL_SECONDS)
    frames = librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=rate)).T
    file = io.BytesIO()
    for start in range(len(frames) - 2 * WINDOW):
        feature = {
            name: tf.train.Feature(
                float_list=tf.train.FloatList(value=frames[at : at + WINDOW].flatten())
            )
            for name, at in (("input", start), ("target", start + WINDOW))
        }
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        write_tfrecord(file, example.SerializeToString())


def flat_memory() -> float:
    """Returns 200 MB divided by the memory that a two-hour file needs on top of one minute's."""
    added = harness.run_in_process(added_memory_mb)
    print(f"a two-hour file adds {added:.0f} MB")
    return 200 / max(added, 1.0)


def added_memory_mb() -> float:
    """Returns the increase of peak memory from a file of a minute to one of two hours, MB."""
    noise = np.random.default_rng(0).normal(0, 0.1, 44100).astype(np.float32)
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for seconds in (60, 7200):
            path = pathlib.Path(folder, f"{seconds}.flac")
            with soundfile.SoundFile(path, "w", 44100, 1) as file:
                for _ in range(seconds):
                    file.write(noise)
            stage([path])
            peaks.append(harness.peak_memory_mb())
    return peaks[1] - peaks[0]


if __name__ == "__main__":
    main()
