"""What preparation can be told, and what it passes from step to step."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from audio import contract
from audio.config import AudioConfig
from audio.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """Settings of the Beam job.

    Attributes:
      chunk_frames: frames of one record; the last record of a recording may be shorter.
      eval_share: share of the recordings that go to the eval split.
      eval_fold: which share of them: folds 0, 1, 2 ... hold out others each, until all were held
        out once. For cross-validation; leave it at 0 for a dataset that grows.
      min_seconds: shorter recordings are rejected.
      max_seconds_per_file: a file that takes longer than this to prepare is rejected.
      min_level_db: recordings whose loudest frame is below this, dB re. full scale, are rejected.
      max_rejected_share: more rejected files than this share of all fail the job.
    """

    chunk_frames: int = 1024
    eval_share: float = 0.1
    eval_fold: int = 0
    min_seconds: float = 1.0
    min_level_db: float = -60.0
    max_seconds_per_file: float = 600.0
    max_rejected_share: float = 0.2

    def __post_init__(self) -> None:
        _require("chunk_frames", self.chunk_frames, 2 <= self.chunk_frames <= 65536, "2 to 65536")
        _require("eval_share", self.eval_share, 0 <= self.eval_share < 1, "0 to below 1")
        _require("eval_fold", self.eval_fold, 0 <= self.eval_fold < 1000, "0 to 999")
        _require("min_seconds", self.min_seconds, self.min_seconds >= 0, "0 or more")
        _require(
            "max_seconds_per_file",
            self.max_seconds_per_file,
            self.max_seconds_per_file > 0,
            "above 0",
        )
        _require("min_level_db", self.min_level_db, self.min_level_db <= 0, "0 or less")
        _require(
            "max_rejected_share",
            self.max_rejected_share,
            0 <= self.max_rejected_share <= 1,
            "0 to 1",
        )


def _require(name: str, value: object, ok: bool, wanted: str) -> None:
    if not ok:
        raise UsageError(f"prepare.{name}: wanted {wanted}, got {value!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """One input file as it was found.

    Attributes:
      uri: where it is.
      n_bytes: its size.
      version: changes when its content does: modification time, or a bucket's generation.
    """

    uri: str
    n_bytes: int
    version: str

    def staging_key(self, audio: AudioConfig, settings: PrepareSettings) -> str:
        """Returns a name for the result of preparing this file this way: 32 hex digits."""
        relevant = [
            contract.FORMAT_VERSION,
            settings.chunk_frames,
            settings.min_seconds,
            settings.min_level_db,
        ]
        text = json.dumps([dataclasses.astuple(self), audio.fingerprint, relevant])
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def inputs_fingerprint(sources: list[Source]) -> str:
    """Returns 12 hex digits that change when a file is added, removed or altered."""
    text = json.dumps(sorted(dataclasses.astuple(source) for source in sources))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reuse:
    """Where an earlier version of the dataset holds the records of an unchanged source.

    Attributes:
      shard: path of the file.
      offset: of the first record, bytes.
      recording: the row of the recording, as Staged has it.
    """

    shard: str
    offset: int
    recording: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Staged:
    """What became of one source: a staged file of records, or a reason for rejecting it."""

    source: Source
    key: str
    recording: dict[str, Any] | None = None
    rejection: dict[str, Any] | None = None

    def to_json(self) -> str:
        """Returns one line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Staged:
        """Returns what to_json wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "source": Source(**fields["source"])})
