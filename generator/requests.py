"""Settings of a generation run, and the seeds of its clips, which depend on nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Annotated, Any, Literal

from pydantic import Field

from audio.settings import Wanted, settings, wrong_value
from storage import files

# Value of primer that stands for no primer: clips start from the average frame.
NO_PRIMER = "none"
# Longer clips are made in sections of this length, which bounds the memory of each.
SECTION_SECONDS = 120.0
# Length of the fades at both ends of a clip.
FADE_SECONDS = 0.02
# Highest peak of a clip between samples, dB re. full scale, as EBU R 128 has it.
TRUE_PEAK_DB = -1.0
# Fixed parts of generation, which manifest.json records together with the settings.
FIXED = {
    "spread": None,
    "noise_floor": 0.0,
    "section_seconds": SECTION_SECONDS,
    "fade_seconds": FADE_SECONDS,
    "true_peak_db": TRUE_PEAK_DB,
}


@settings("generate")
class GenerateSettings:
    """Settings of a generation run."""

    clips: int = Field(default=8, ge=1, le=1_000_000)
    """Number of clips."""
    seconds: float = Field(default=10.0, ge=0.5, le=86_400)
    """Length of each clip, in seconds."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the generation run. The seeds of all clips follow from it, and the same seed gives
    the same clips.
    """
    temperature: float | None = Field(default=None, ge=0, le=10)
    """Sampling temperature: higher values are more varied, and 0 always picks the most likely
    frame. null is the temperature of the model: 1 for the mixture head, 0.3 for the others.
    """
    vocoder: str = "griffin-lim"
    """Name of the vocoder: griffin-lim, librosa, or one that an installed package adds."""
    iterations: int = Field(default=20, ge=1, le=1000)
    """Iterations of the vocoder. More of them cost time and improve the sound little."""
    format: Literal["wav", "wav24", "wavfloat", "flac", "vorbis", "opus", "mp3"] = "wav"
    """Format of the audio files."""
    sample_rate: Annotated[int, Wanted("0, or 8000 to 192000")] = Field(default=0, ge=0, le=192_000)
    """Sample rate of the audio files, in Hz. 0 is the sample rate of the model. If the format does
    not support a rate, the next higher one is used.
    """
    loudness_lufs: float | None = Field(default=-23.0, ge=-70, le=0)
    """Integrated loudness (ITU-R BS.1770, in LUFS) to which every clip is brought, as far as its
    peaks allow. null leaves levels as they are.
    """
    attempts: int = Field(default=3, ge=1, le=100)
    """Highest number of attempts at a clip. A clip that is silent, frozen, looping, diverged or too
    quiet is made again with another seed.
    """
    reject_warnings: bool = False
    """Whether a clip that is noisier than nearly all training music, or whose tones last less long,
    counts as one with a fault. By default such clips are published, with a warning.
    """
    max_unhealthy_share: float = Field(default=0.25, ge=0, le=1)
    """The run fails if more than this share of the clips has a fault in every attempt. Such clips
    are left out.
    """
    pictures: bool = False
    """Whether a spectrogram of each clip is written beside it, as a PNG file."""
    date: str = Field(default="", max_length=40)
    """Date that is written into the tags of the files, such as 2026-11-22."""
    primer: str = ""
    """Audio file that starts every clip. If it is empty, the clips start from the primers that come
    with the model. If it is none, each clip keeps the style of one of them, but does not continue
    it.
    """

    def __post_init__(self) -> None:
        if 0 < self.sample_rate < 8000:
            raise wrong_value("generate.sample_rate", "0, or 8000 to 192000", self.sample_rate)
        if not self.date.isprintable():
            raise wrong_value("generate.date", "text on one line", self.date)
        files.check_path(self.primer, "generate.primer")

    def recorded(self) -> dict[str, Any]:
        """Returns the settings and the fixed parts of generation, for manifest.json."""
        return {**FIXED, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipRequest:
    """A clip that is to be made.

    Attributes:
      index: Index of the clip in its run.
      name: Name of its file without the suffix.
      seed: Seed of the rollout and of the vocoder's phases.
    """

    index: int
    name: str
    seed: int


def plan_clips(
    settings: GenerateSettings, *, first: int = 0, count: int | None = None
) -> list[ClipRequest]:
    """Returns the clips of a run; each is the same however many others there are.

    Args:
      settings: Settings of the run.
      first: Index of the first clip.
      count: Largest number of clips; None for all from the first one on.
    """
    last = settings.clips if count is None else min(first + count, settings.clips)
    return [
        ClipRequest(index=index, name=f"clip-{index:04d}", seed=derive_seed(settings.seed, index))
        for index in range(first, last)
    ]


def derive_seed(run_seed: int, index: int, *, attempt: int = 0) -> int:
    """Returns a seed below 2**63 for one attempt at one clip of a run."""
    return hash_text(f"nocturne clip {run_seed} {index} {attempt}") >> 1


def choose_primer(seed: int, n_primers: int) -> int:
    """Returns the index of the primer that starts the clip with a seed."""
    return hash_text(f"nocturne primer {seed}") % n_primers


def hash_text(text: str) -> int:
    """Returns the first 64 bits of a text's SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
