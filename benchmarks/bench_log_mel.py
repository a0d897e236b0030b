"""Our log-mel against librosa's, on one core, on real audio."""

from __future__ import annotations

import harness

harness.one_core()

import librosa  # noqa: E402
import numpy as np  # noqa: E402

from audio.codec import read_mono  # noqa: E402
from audio.config import AudioConfig  # noqa: E402
from audio.mel import log_mel  # noqa: E402

MINUTES = 10


def main() -> None:
    options = harness.parser(__doc__).parse_args()
    config = AudioConfig()
    pieces, seconds = [], 0.0
    for path in harness.recordings(options.audio):
        with path.open("rb") as file:
            pieces.append(read_mono(file, sample_rate=config.sample_rate))
        seconds += len(pieces[-1]) / config.sample_rate
        if seconds > MINUTES * 60:
            break

    def peer(samples: np.ndarray) -> np.ndarray:
        power = librosa.feature.melspectrogram(y=samples, sr=config.sample_rate)
        return librosa.power_to_db(power, top_db=None)

    medians = harness.in_turn(
        {
            "librosa": lambda: [peer(piece) for piece in pieces],
            "fast": lambda: [log_mel(piece, config) for piece in pieces],
            "exact": lambda: [log_mel(piece, config, exact=True) for piece in pieces],
        },
        rounds=options.rounds,
        clock=harness.cpu_time,
    )
    audible, everywhere = _errors(pieces, config)
    print(f"log-mel of {seconds / 60:.1f} minutes, one core, median of {options.rounds}")
    harness.table(
        ["", "times real time", "of librosa", "error above peak -80 dB", "error everywhere"],
        [
            ["librosa", seconds / medians["librosa"], 1.0, "", ""],
            *(
                [name, seconds / medians[name], medians["librosa"] / medians[name],
                 f"{audible[name]:.2g} dB", f"{everywhere[name]:.2g} dB"]
                for name in ("fast", "exact")
            ),
        ],
    )  # fmt: skip
    harness.report(
        [
            ("log_mel_fast", medians["librosa"] / medians["fast"], "librosa", 2.8),
            ("log_mel_exact", medians["librosa"] / medians["exact"], "librosa", 1.8),
            ("log_mel_fast_accuracy", 5e-4 / audible["fast"], "5e-4 dB above peak -80 dB", 1.0),
            ("log_mel_exact_accuracy", 1e-4 / everywhere["exact"], "1e-4 dB everywhere", 1.0),
        ]
    )


def _errors(
    pieces: list[np.ndarray], config: AudioConfig
) -> tuple[dict[str, float], dict[str, float]]:
    """Returns the largest differences from librosa in float64: where audible, and everywhere."""
    audible, everywhere = {"fast": 0.0, "exact": 0.0}, {"fast": 0.0, "exact": 0.0}
    for piece in pieces:
        power = librosa.feature.melspectrogram(y=piece.astype(np.float64), sr=config.sample_rate)
        wanted = librosa.power_to_db(power, top_db=None)
        loud = wanted > wanted.max() - 80
        for name in audible:
            found = log_mel(piece, config, exact=name == "exact").T * (10 / np.log(10))
            error = np.abs(found - wanted)
            audible[name] = max(audible[name], float(error[loud].max()))
            everywhere[name] = max(everywhere[name], float(error.max()))
    return audible, everywhere


if __name__ == "__main__":
    main()
