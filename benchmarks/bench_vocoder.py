"""Our vocoder against librosa's mel_to_audio, on one core, on real audio.

Clips of ten seconds from the middle of five recordings: how fast, and how close to the recording's
own mel and, where `pip install zimtohrli` was said, to its sound.
"""

from __future__ import annotations

import importlib.util

import harness

harness.one_core()

import librosa  # noqa: E402
import numpy as np  # noqa: E402
import soxr  # noqa: E402

from audio.codec import read_mono  # noqa: E402
from audio.config import AudioConfig  # noqa: E402
from audio.mel import log_mel  # noqa: E402
from audio.vocoder import DEFAULT_ITERATIONS, vocode  # noqa: E402

CLIPS, SECONDS = 5, 10
# Of ours: the fewest rounds that come as close as librosa's 32 did, and the default.
QUICK = 12
CONFIG = AudioConfig()


def main() -> None:
    options = harness.parser(__doc__).parse_args()
    clips = _clips(options.audio)
    targets = [log_mel(clip, CONFIG) for clip in clips]
    peers = {
        "librosa mel_to_audio": lambda: [_librosa(target) for target in targets],
        f"ours, {QUICK} rounds": lambda: [_ours(target, QUICK) for target in targets],
        f"ours, {DEFAULT_ITERATIONS} rounds": lambda: [
            _ours(target, DEFAULT_ITERATIONS) for target in targets
        ],
    }
    medians = harness.in_turn(peers, rounds=options.rounds, clock=harness.cpu_time)
    figures = {name: _figures(clips, targets, run()) for name, run in peers.items()}
    peer, quick, default = peers
    print(f"{len(clips)} clips of {SECONDS} s, one core, median of {options.rounds}")
    harness.table(
        ["", "times real time", "of librosa", *figures[peer]],
        [
            [name, len(clips) * SECONDS / each, medians[peer] / each, *figures[name].values()]
            for name, each in medians.items()
        ],
    )
    better = {
        name: sign * (figures[default][name] - figures[peer][name])
        for name, sign in (("convergence, dB", -1), ("log-mel L1, dB", -1), ("Zimtohrli MOS", 1))
        if name in figures[peer]
    }
    closer = figures[peer]["convergence, dB"] - figures[quick]["convergence, dB"]
    harness.report(
        [
            ("vocoder_quick", medians[peer] / medians[quick], "librosa", 25),
            ("vocoder_quick_closer_db", closer, "librosa", 0),
            ("vocoder_default", medians[peer] / medians[default], "librosa", 10),
            *((f"vocoder_default: {name} better", by, "librosa", 0) for name, by in better.items()),
        ]
    )


def _clips(folder: str | None) -> list[np.ndarray]:
    found = []
    for path in harness.recordings(folder):
        with path.open("rb") as file:
            samples = read_mono(file, sample_rate=CONFIG.sample_rate)
        n_samples = SECONDS * CONFIG.sample_rate
        if len(samples) >= n_samples:
            start = (len(samples) - n_samples) // 2
            found.append(samples[start : start + n_samples])
    if len(found) < CLIPS:
        raise SystemExit(f"wanted {CLIPS} recordings of {SECONDS} s or more, found {len(found)}")
    return [found[index] for index in np.linspace(0, len(found) - 1, CLIPS).astype(int)]


def _librosa(target: np.ndarray) -> np.ndarray:
    return librosa.feature.inverse.mel_to_audio(
        np.exp(target).T,
        sr=CONFIG.sample_rate,
        n_fft=CONFIG.n_fft,
        hop_length=CONFIG.hop_length,
        length=(len(target) - 1) * CONFIG.hop_length,
    )


def _ours(target: np.ndarray, rounds: int) -> np.ndarray:
    return vocode(target, CONFIG, rng=np.random.default_rng(0), iterations=rounds)


def _figures(
    clips: list[np.ndarray], targets: list[np.ndarray], made: list[np.ndarray]
) -> dict[str, float]:
    """Returns means over clips: mel spectral convergence, log-mel L1, and MOS."""
    rows = []
    for clip, target, samples in zip(clips, targets, made, strict=True):
        found = log_mel(samples, CONFIG)
        wanted, got = np.exp(target / 2), np.exp(found / 2)
        row = {
            "convergence, dB": 20 * np.log10(np.linalg.norm(wanted - got) / np.linalg.norm(wanted)),
            "log-mel L1, dB": 10 / np.log(10) * np.abs(target - found).mean(),
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
