"""What a run's manifest.json holds; docs/manifest.schema.json is made from it."""

from __future__ import annotations

from typing import Any

import pydantic


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class Attempt(_Strict):
    """One attempt at a clip."""

    seed: int
    faults: list[str] = pydantic.Field(description="What was wrong with it; empty for a good one.")


class Health(_Strict):
    """Figures of the frames that a clip was made from."""

    faults: list[str]
    level_db: float | None = pydantic.Field(default=None, description="Mean level, dB.")
    flux: float | None = pydantic.Field(default=None, description="Mean rise from frame to frame.")
    silence_share: float | None = pydantic.Field(default=None, description="Of its frames, 0 to 1.")


class LeftOut(_Strict):
    """A clip that has faults in every attempt, and so no file."""

    index: int
    seed: int = pydantic.Field(description="Of the last attempt.")
    primer: dict[str, Any] = pydantic.Field(description="Recording and frame, or file.")
    health: Health
    attempts: list[Attempt]


class Picture(_Strict):
    """A spectrogram of a clip, published beside it."""

    file: str
    bytes: int
    sha256: str = pydantic.Field(pattern="^[0-9a-f]{64}$")
    crc32c: int = pydantic.Field(ge=0, lt=2**32)


class Clip(LeftOut):
    """A published clip."""

    file: str
    bytes: int
    sha256: str = pydantic.Field(pattern="^[0-9a-f]{64}$")
    crc32c: int = pydantic.Field(ge=0, lt=2**32)
    duration_seconds: float
    sample_rate: int
    loudness_lufs: float | None = pydantic.Field(description="Integrated, ITU-R BS.1770.")
    true_peak_db: float
    gain_db: float = pydantic.Field(description="How much louder it was made than the vocoder did.")
    picture: Picture | None = None


class ModelOf(_Strict):
    """The model that made the clips."""

    path: str
    model_id: str = pydantic.Field(description="Hash of the weights and the front end.")
    fingerprint: str = pydantic.Field(description="Of the front end.")
    dataset: dict[str, Any]
    train: dict[str, Any] = pydantic.Field(description="Settings of its training.")


class Manifest(_Strict):
    """A finished run."""

    format_version: int
    run_key: str = pydantic.Field(description="Hash of the model and all settings of generation.")
    model: ModelOf
    audio: dict[str, Any] = pydantic.Field(description="The front end.")
    generate: dict[str, Any] = pydantic.Field(description="Settings of the run.")
    lineage: dict[str, Any] = pydantic.Field(description="Where ML Metadata is, for a pipeline.")
    clips: list[Clip]
    unhealthy: list[LeftOut]
