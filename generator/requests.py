"""What a run of generation is to make: a plan that depends on the request alone."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from audio.encode import FORMATS
from audio.errors import UsageError
from audio.vocoder import DEFAULT_ITERATIONS, DEFAULT_VOCODER

# In place of a path: clips that go on from nothing.
NO_PRIMER = "none"
# Longer clips are made in sections of this length, which bounds the memory of each.
SECTION_SECONDS = 120.0
# Length of the fades at both ends of a clip.
FADE_SECONDS = 0.02
# Highest peak of a clip between samples, dB re. full scale, as EBU R 128 has it.
TRUE_PEAK_DB = -1.0
# What clips were made with and users do not set, as manifest.json records it.
FIXED = {
    "spread": None,
    "noise_floor": 0.0,
    "section_seconds": SECTION_SECONDS,
    "fade_seconds": FADE_SECONDS,
    "true_peak_db": TRUE_PEAK_DB,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """Settings of one run of generation.

    Attributes:
      clips: how many.
      seconds: length of each clip.
      seed: of the run; every clip's own seed follows from it.
      temperature: of what is chosen at random in a frame; 0 takes the likeliest. The model's own
        where none is given: 0.3 for the mse head, 1 for a mixture.
      vocoder: `griffin-lim`, `librosa`, or one that a package adds (audio/vocoder.py).
      iterations: of the vocoder.
      format: wav, wav24, wavfloat, flac, vorbis, opus or mp3.
      sample_rate: of the files, Hz; 0 for the model's. Formats that do not know it take the next.
      loudness_lufs: what every clip is brought to, as far as its peaks allow; null for as it is.
      attempts: at a clip that is silent, frozen, looping, diverged or too quiet; each with a seed
        of its own.
      max_unhealthy_share: of clips that may be left out because no attempt was well.
      pictures: whether a spectrogram of each clip is published beside it.
      date: written into the files, such as 2026-11-22.
      primer: an audio file that starts every clip; where empty, the model's own primers do. With
        `none` a clip keeps the style of one of these, but goes on from none.
    """

    clips: int = 8
    seconds: float = 10.0
    seed: int = 0
    temperature: float | None = None
    vocoder: str = DEFAULT_VOCODER
    iterations: int = DEFAULT_ITERATIONS
    format: str = "wav"
    sample_rate: int = 0
    loudness_lufs: float | None = -23.0
    attempts: int = 3
    max_unhealthy_share: float = 0.25
    pictures: bool = False
    date: str = ""
    primer: str = ""

    def __post_init__(self) -> None:
        checks = {
            "clips": (1 <= self.clips <= 1_000_000, "1 to 1000000"),
            "seconds": (0.5 <= self.seconds <= 86_400, "0.5 to 86400"),
            "seed": (0 <= self.seed < 2**63, "0 to below 2**63"),
            "temperature": (
                self.temperature is None or 0 <= self.temperature <= 10,
                "0 to 10, or null",
            ),
            "iterations": (1 <= self.iterations <= 1000, "1 to 1000"),
            "format": (self.format in FORMATS, f"one of {', '.join(FORMATS)}"),
            "sample_rate": (
                self.sample_rate == 0 or 8000 <= self.sample_rate <= 192_000,
                "0 or 8000 to 192000",
            ),
            "loudness_lufs": (
                self.loudness_lufs is None or -70 <= self.loudness_lufs <= 0,
                "-70 to 0, or null",
            ),
            "attempts": (1 <= self.attempts <= 100, "1 to 100"),
            "max_unhealthy_share": (0 <= self.max_unhealthy_share <= 1, "0 to 1"),
            "date": (len(self.date) <= 40 and self.date.isprintable(), "up to 40 characters"),
        }
        for name, (ok, wanted) in checks.items():
            if not ok:
                raise UsageError(f"generate.{name}: wanted {wanted}, got {getattr(self, name)!r}")

    def recorded(self) -> dict[str, Any]:
        """Returns the settings as manifest.json has them, with what is fixed among them."""
        return {**FIXED, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipRequest:
    """One clip to be made.

    Attributes:
      index: its place in the run.
      name: its file name without the ending.
      seed: of its noise and its vocoder's phases.
    """

    index: int
    name: str
    seed: int


def plan_clips(
    settings: GenerateSettings, *, first: int = 0, count: int | None = None
) -> list[ClipRequest]:
    """Returns clips of a run; clip i is the same however many others there are.

    Args:
      settings: of the run.
      first: index of the first.
      count: at most so many; None for all that follow.
    """
    last = settings.clips if count is None else min(first + count, settings.clips)
    return [
        ClipRequest(index=index, name=f"clip-{index:04d}", seed=derive_seed(settings.seed, index))
        for index in range(first, last)
    ]


def derive_seed(run_seed: int, index: int, *, attempt: int = 0) -> int:
    """Returns a seed below 2**63 for one attempt at one clip of a run."""
    text = f"nocturne clip {run_seed} {index} {attempt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def choose_primer(seed: int, n_primers: int) -> int:
    """Returns which of n_primers primers starts the clip of a seed."""
    text = f"nocturne primer {seed}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % n_primers
