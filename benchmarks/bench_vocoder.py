"""Compares Nocturne's vocoder with librosa's mel_to_audio, on one core.

The clips are ten seconds from the middle of five recordings. Measured are the speed, the distance
from the recording's log-mel, and, if the package zimtohrli is installed, the perceived quality.
"""

from __future__ import annotations

import importlib.util

import harness

harness.use_one_core()

import librosa  # noqa: E402
import numpy as np  # noqa: E402
import soxr  # noqa: E402

from audio.codec import read_mono  # noqa: E402
from audio.config import AudioConfig  # noqa: E402
from audio.mel import log_mel  # noqa: E402
from audio.vocoder import DEFAULT_ITERATIONS, vocode  # noqa: E402

# Number of clips, and the length of each in seconds.
CLIPS = 5
SECONDS = 10
# The fewest iterations that come as close to the recordings as librosa's 32.
QUICK = 12
CONFIG = AudioConfig()


def main() -> None:
    options = harness.argument_parser(__doc__).parse_args()
    clips = _clips(options.audio)
    targets = [log_mel(clip, CONFIG) for clip in clips]
    peers = {
        "librosa mel_to_audio": lambda: [_librosa(target) for target in targets],
        f"Nocturne, {QUICK} iterations": lambda: [_nocturne(target, QUICK) for target in targets],
        f"Nocturne, {DEFAULT_ITERATIONS} iterations": lambda: [
            _nocturne(target, DEFAULT_ITERATIONS) for target in targets
        ],
    }
    medians = harness.time_in_turn(peers, rounds=options.rounds, clock=harness.cpu_time)
    figures = {name: _figures(clips, targets, run()) for name, run in peers.items()}
    peer, quick, default = peers
    print(f"{len(clips)} clips of {SECONDS} s, one core, median of {options.rounds}")
    harness.print_table(
        ["", "times real time", "ratio", *figures[peer]],
        [
            [name, len(clips) * SECONDS / seconds, medians[peer] / seconds, *figures[name].values()]
            for name, seconds in medians.items()
        ],
    )
    better = {
        name: sign * (figures[default][name] - figures[peer][name])
        for name, sign in (("convergence, dB", -1), ("log-mel L1, dB", -1), ("Zimtohrli MOS", 1))
        if name in figures[peer]
    }
    closer = figures[peer]["convergence, dB"] - figures[quick]["convergence, dB"]
    harness.check_bars(
        [
            ("vocoder_quick", medians[peer] / medians[quick], "librosa", 25),
            ("vocoder_quick_closer_db", closer, "librosa", 0),
            ("vocoder_default", medians[peer] / medians[default], "librosa", 10),
            *((f"vocoder_default: {name} better", by, "librosa", 0) for name, by in better.items()),
        ]
    )


def _clips(folder: str | None) -> list[np.ndarray]:
    clips = []
    for path in harness.find_recordings(folder):
        with path.open("rb") as file:
            samples = read_mono(file, sample_rate=CONFIG.sample_rate)
        n_samples = SECONDS * CONFIG.sample_rate
        if len(samples) >= n_samples:
            start = (len(samples) - n_samples) // 2
            clips.append(samples[start : start + n_samples])
    if len(clips) < CLIPS:
        raise SystemExit(
            f"wanted {CLIPS} recordings of {SECONDS} s or more, got {len(clips)}. Add recordings."
        )
    return [clips[index] for index in np.linspace(0, len(clips) - 1, CLIPS).astype(int)]


def _librosa(target: np.ndarray) -> np.ndarray:
    return librosa.feature.inverse.mel_to_audio(
        np.exp(target).T,
        sr=CONFIG.sample_rate,
        n_fft=CONFIG.n_fft,
        hop_length=CONFIG.hop_length,
        length=(len(target) - 1) * CONFIG.hop_length,
    )


def _nocturne(target: np.ndarray, iterations: int) -> np.ndarray:
    return vocode(target, CONFIG, rng=np.random.default_rng(0), iterations=iterations)


def _figures(
    clips: list[np.ndarray], targets: list[np.ndarray], outputs: list[np.ndarray]
) -> dict[str, float]:
    """Returns means over clips: spectral convergence of mel magnitudes, log-mel L1, and MOS."""
    rows = []
    for clip, target, samples in zip(clips, targets, outputs, strict=True):
        output = log_mel(samples, CONFIG)
        expected = np.exp(target / 2)
        error = np.linalg.norm(expected - np.exp(output / 2)) / np.linalg.norm(expected)
        row = {
            "convergence, dB": 20 * np.log10(error),
            "log-mel L1, dB": 10 / np.log(10) * np.abs(target - output).mean(),
        }
        if importlib.util.find_spec("zimtohrli"):
            import zimtohrli

            pair = (soxr.resample(x[: len(samples)], CONFIG.sample_rate, 48000)
                    for x in (clip, samples))  # fmt: skip
            row["Zimtohrli MOS"] = zimtohrli.mos_from_signals(*pair)
        rows.append(row)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


if __name__ == "__main__":
    main()
