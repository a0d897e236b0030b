"""Compares the speed and the accuracy of Nocturne's log-mel with librosa's, on one core."""

from __future__ import annotations

import harness

harness.use_one_core()

import librosa  # noqa: E402
import numpy as np  # noqa: E402

from audio.codec import read_mono  # noqa: E402
from audio.config import AudioConfig  # noqa: E402
from audio.mel import log_mel  # noqa: E402

# Total duration of the recordings.
MINUTES = 10


def main() -> None:
    options = harness.argument_parser(__doc__).parse_args()
    config = AudioConfig()
    recordings, seconds = [], 0.0
    for path in harness.find_recordings(options.audio):
        with path.open("rb") as file:
            recordings.append(read_mono(file, sample_rate=config.sample_rate))
        seconds += len(recordings[-1]) / config.sample_rate
        if seconds > MINUTES * 60:
            break

    def peer(samples: np.ndarray) -> np.ndarray:
        power = librosa.feature.melspectrogram(y=samples, sr=config.sample_rate)
        return librosa.power_to_db(power, top_db=None)

    medians = harness.time_in_turn(
        {
            "librosa": lambda: [peer(samples) for samples in recordings],
            "fast": lambda: [log_mel(samples, config) for samples in recordings],
            "exact": lambda: [log_mel(samples, config, exact=True) for samples in recordings],
        },
        rounds=options.rounds,
        clock=harness.cpu_time,
    )
    audible, everywhere = _errors(recordings, config)
    print(f"log-mel of {seconds / 60:.1f} minutes, one core, median of {options.rounds}")
    harness.print_table(
        ["", "times real time", "ratio", "error above peak -80 dB", "error everywhere"],
        [
            ["librosa", seconds / medians["librosa"], 1.0, "", ""],
            *(
                [name, seconds / medians[name], medians["librosa"] / medians[name],
                 f"{audible[name]:.2g} dB", f"{everywhere[name]:.2g} dB"]
                for name in ("fast", "exact")
            ),
        ],
    )  # fmt: skip
    harness.check_bars(
        [
            ("log_mel_fast", medians["librosa"] / medians["fast"], "librosa", 2.8),
            ("log_mel_exact", medians["librosa"] / medians["exact"], "librosa", 1.8),
            ("log_mel_fast_accuracy", 5e-4 / audible["fast"], "5e-4 dB above peak -80 dB", 1.0),
            ("log_mel_exact_accuracy", 1e-4 / everywhere["exact"], "1e-4 dB everywhere", 1.0),
        ]
    )


def _errors(
    recordings: list[np.ndarray], config: AudioConfig
) -> tuple[dict[str, float], dict[str, float]]:
    """Returns the largest errors in dB, in audible cells and in all: from librosa in float64."""
    audible, everywhere = {"fast": 0.0, "exact": 0.0}, {"fast": 0.0, "exact": 0.0}
    for samples in recordings:
        power = librosa.feature.melspectrogram(y=samples.astype(np.float64), sr=config.sample_rate)
        reference = librosa.power_to_db(power, top_db=None)
        is_audible = reference > reference.max() - 80
        for name in audible:
            decibels = log_mel(samples, config, exact=name == "exact").T * (10 / np.log(10))
            error = np.abs(decibels - reference)
            audible[name] = max(audible[name], float(error[is_audible].max()))
            everywhere[name] = max(everywhere[name], float(error.max()))
    return audible, everywhere


if __name__ == "__main__":
    main()
