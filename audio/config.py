"""The front end's configuration: one object, with a fingerprint that travels with the data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math

from audio.errors import UsageError

CHANNELS = ("mix", "left", "right", "loudest")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """How samples become log-mel frames. Equal configurations give equal frames.

    Attributes:
      sample_rate: samples per second after resampling.
      n_fft: samples of one STFT frame; even.
      hop_length: samples from one frame to the next.
      n_mels: mel bands.
      fmin: lower edge of the lowest band, Hz.
      fmax: upper edge of the highest band, Hz; sample_rate / 2 where it is not given.
      channels: how several become one: `mix` (their mean), `left`, `right`, or `loudest` (the one
        with the most energy).
      loudness_lufs: integrated loudness that every recording is brought to (BS.1770, measured on
        the one channel, raised by 40 dB at the most); None leaves levels as they are.
      trim_silence_db: frames below this level, dB re. full scale, are cut from both ends of every
        recording; None keeps them.
      log_floor: mel power below which the logarithm is taken of this instead.

    Raises:
      UsageError: a value is out of range; the message names the field.
    """

    sample_rate: int = 22050
    n_fft: int = 2048
    hop_length: int = 512
    n_mels: int = 128
    fmin: float = 0.0
    fmax: float | None = None
    channels: str = "mix"
    loudness_lufs: float | None = None
    trim_silence_db: float | None = None
    log_floor: float = 1e-10

    def __post_init__(self) -> None:
        for name in ("sample_rate", "n_fft", "hop_length", "n_mels"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise UsageError(f"audio.{name}: wanted a whole number, got {value!r}")
        if self.fmax is None:
            object.__setattr__(self, "fmax", self.sample_rate / 2)
        for name in ("fmin", "fmax", "loudness_lufs", "trim_silence_db", "log_floor"):
            # 8000 and 8000.0 are one configuration, and so must be one fingerprint.
            if getattr(self, name) is not None:
                object.__setattr__(self, name, float(getattr(self, name)))
        _require(
            "sample_rate", self.sample_rate, 1000 <= self.sample_rate <= 384_000, "1000 to 384000"
        )
        _require(
            "n_fft",
            self.n_fft,
            16 <= self.n_fft <= 65536 and self.n_fft % 2 == 0,
            "an even number from 16 to 65536",
        )
        _require(
            "hop_length",
            self.hop_length,
            1 <= self.hop_length <= self.n_fft,
            f"1 to n_fft ({self.n_fft})",
        )
        _require("n_mels", self.n_mels, 1 <= self.n_mels <= 1024, "1 to 1024")
        _require("fmin", self.fmin, 0 <= self.fmin < self.upper_edge, "0 to below fmax")
        _require(
            "fmax",
            self.fmax,
            self.upper_edge <= self.sample_rate / 2,
            f"at most sample_rate / 2 ({self.sample_rate / 2})",
        )
        _require(
            "channels", self.channels, self.channels in CHANNELS, f"one of {', '.join(CHANNELS)}"
        )
        _require(
            "loudness_lufs",
            self.loudness_lufs,
            self.loudness_lufs is None or -60 <= self.loudness_lufs <= 0,
            "-60 to 0, or null",
        )
        _require(
            "trim_silence_db",
            self.trim_silence_db,
            self.trim_silence_db is None or -120 <= self.trim_silence_db <= 0,
            "-120 to 0, or null",
        )
        _require("log_floor", self.log_floor, 1e-30 < self.log_floor < 1, "above 1e-30, below 1")

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
        fields = json.loads(text)
        unknown = set(fields) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise UsageError(f"audio config: unknown keys {sorted(unknown)}")
        return cls(**fields)


def _require(name: str, value: object, ok: bool, wanted: str) -> None:
    if not ok:
        raise UsageError(f"audio.{name}: wanted {wanted}, got {value!r}")
