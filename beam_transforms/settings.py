"""Settings of preparation, and the objects that its steps pass on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from typing import Any

from pydantic import Field

from audio import contract
from audio.config import AudioConfig
from audio.settings import settings


@settings("prepare")
class PrepareSettings:
    """Settings of the preparation of a dataset."""

    chunk_frames: int = Field(default=1024, ge=2, le=65536)
    """Frames in one record of the dataset. The last record of a recording may be shorter."""
    shard_bytes: int = Field(default=64_000_000, ge=1)
    """Size at which a shard of records is full, in bytes. More and smaller shards let more workers
    read at the same time.
    """
    eval_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the recordings that is held out of training, for evaluation. Where there are a dozen
    recordings, at least 3 are held out, because a model cannot be judged by fewer. 0 holds out
    none.
    """
    eval_fold: int = Field(default=0, ge=0, lt=1000)
    """Number of the fold, for cross-validation: folds 0, 1, 2 and so on hold out different
    recordings, until each was held out once. Leave it at 0 for a dataset that grows.
    """
    min_seconds: float = Field(default=1.0, ge=0)
    """Recordings shorter than this, in seconds, are rejected."""
    max_lost_share: float = Field(default=0.01, ge=0, le=1)
    """Damaged or truncated recordings are rejected if more than this share of their sound is
    missing. 1 takes what is left of any recording.
    """
    max_seconds_per_file: float = Field(default=600.0, gt=0, allow_inf_nan=True)
    """Files that take longer than this to prepare, in seconds, are rejected. .inf sets no limit."""
    max_rejected_share: float = Field(default=0.2, ge=0, le=1)
    """Preparation fails if more than this share of all files is rejected. Files that a folder has
    under other names than those of audio, and that were found by their content, do not count.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """One input file as it was found.

    Attributes:
      uri: where it is.
      n_bytes: its size.
      version: changes when its content does: modification time, or a bucket's generation.
      by_content: Whether only its content, and not its name, says that it is audio.
    """

    uri: str
    n_bytes: int
    version: str
    by_content: bool = False

    @property
    def identity(self) -> tuple[str, int, str]:
        """What distinguishes it from other files, and from earlier content of this one."""
        return self.uri, self.n_bytes, self.version

    def staging_key(self, audio: AudioConfig, settings: PrepareSettings) -> str:
        """Returns a name for the result of preparing this file this way: 32 hex digits."""
        relevant = [
            contract.FORMAT_VERSION,
            settings.chunk_frames,
            settings.min_seconds,
            settings.max_lost_share,
        ]
        text = json.dumps([self.identity, audio.fingerprint, relevant])
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def inputs_fingerprint(sources: list[Source]) -> str:
    """Returns 12 hex digits that change with the files, and with the right to read one of them."""
    rows = [(*source.identity, _is_permitted(source)) for source in sources]
    text = json.dumps(sorted(rows))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _is_permitted(source: Source) -> bool:
    return "://" in source.uri or os.access(source.uri, os.R_OK)


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
    """What became of one source: a staged file of records, or a reason for rejecting it.

    Attributes:
      source: The file.
      key: Name of its staged files.
      recording: What recordings.jsonl is to say of it; None if it was rejected.
      rejection: Row of rejected.jsonl; None if it was prepared.
      judged_by: Limits and versions of decoders that a rejection follows from. With others, the
        file is tried again.
    """

    source: Source
    key: str
    recording: dict[str, Any] | None = None
    rejection: dict[str, Any] | None = None
    judged_by: dict[str, str] | None = None

    def to_json(self) -> str:
        """Returns one line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Staged:
        """Returns what to_json wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "source": Source(**fields["source"])})
