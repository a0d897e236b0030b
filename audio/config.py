"""The configuration of the front end, with a fingerprint that datasets and models record."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import Annotated, Literal

from pydantic import Field

from audio.settings import Wanted, settings, wrong_value


@settings("audio")
class AudioConfig:
    """How samples become log-mel frames. Equal configurations give equal frames."""

    sample_rate: int = Field(default=22050, ge=1000, le=384_000)
    """Samples per second to which every recording is resampled."""
    n_fft: Annotated[int, Wanted("an even number from 16 to 65536")] = Field(
        default=2048, ge=16, le=65536, multiple_of=2
    )
    """Length of the Fourier transform of one frame, in samples."""
    hop_length: int = Field(default=512, ge=1)
    """Samples from the start of one frame to the start of the next. At most n_fft."""
    n_mels: int = Field(default=128, ge=1, le=1024)
    """Number of mel bands."""
    fmin: float = Field(default=0.0, ge=0)
    """Lower edge of the lowest mel band, in Hz. Below fmax."""
    fmax: float | None = None
    """Upper edge of the highest mel band, in Hz. At most half of sample_rate, which is also what
    null means.
    """
    channels: Literal["mix", "left", "right", "loudest"] = "mix"
    """How the channels of a recording become one: mix takes their mean, left and right take one of
    them, and loudest takes the one with the most energy.
    """
    loudness_lufs: float | None = Field(default=None, ge=-60, le=0)
    """Integrated loudness (ITU-R BS.1770, in LUFS) to which every recording is brought, with a gain
    of at most 40 dB. null leaves levels as they are.
    """
    trim_silence_db: float | None = Field(default=None, ge=-120, le=0)
    """Frames below this level, in dB re. full scale, are cut from both ends of every recording.
    null keeps them.
    """
    log_floor: float = Field(default=1e-10, gt=1e-30, lt=1)
    """Mel power below this value is raised to it before the logarithm is taken."""

    def __post_init__(self) -> None:
        if self.hop_length > self.n_fft:
            raise wrong_value("audio.hop_length", f"1 to n_fft ({self.n_fft})", self.hop_length)
        highest = self.sample_rate / 2
        if self.fmax is None:
            object.__setattr__(self, "fmax", highest)
        if self.upper_edge > highest:
            raise wrong_value("audio.fmax", f"at most sample_rate / 2 ({highest})", self.fmax)
        if self.fmin >= self.upper_edge:
            raise wrong_value("audio.fmin", f"0 to below fmax ({self.fmax})", self.fmin)

    @property
    def upper_edge(self) -> float:
        """fmax, which is a number once the object exists."""
        assert self.fmax is not None
        return self.fmax

    @property
    def n_bins(self) -> int:
        """Bins of one STFT frame."""
        return self.n_fft // 2 + 1

    @property
    def frames_per_second(self) -> float:
        """Frames per second of audio; not a whole number in general."""
        return self.sample_rate / self.hop_length

    @property
    def log_mel_floor(self) -> float:
        """The smallest value that log_mel returns, nats."""
        return math.log(self.log_floor)

    @property
    def fingerprint(self) -> str:
        """12 hex digits that differ where any field differs."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def n_frames(self, n_samples: int) -> int:
        """Returns how many centred frames n_samples samples have."""
        return 1 + n_samples // self.hop_length

    def frames_for(self, duration_seconds: float) -> int:
        """Returns the fewest frames whose hops cover a duration."""
        return math.ceil(duration_seconds * self.sample_rate / self.hop_length)

    def to_json(self) -> str:
        """Returns the fields as JSON with sorted keys."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> AudioConfig:
        """Returns the configuration that to_json wrote.

        Raises:
          UsageError: a key is unknown or a value out of range.
        """
        return cls(**json.loads(text))
