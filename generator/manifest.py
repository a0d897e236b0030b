"""Schema of a generation run's manifest.json, published as docs/manifest.schema.json."""

from __future__ import annotations

from typing import Any

import pydantic


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class Attempt(_Strict):
    """One attempt at a clip."""

    seed: int
    faults: list[str] = pydantic.Field(description="What the checks found; empty for a good clip.")


class Health(_Strict):
    """Figures of the frames that a clip was made from."""

    faults: list[str]
    warnings: list[str] = pydantic.Field(
        [], description="`noisy` or `no steady tone`: less tonal than the training music."
    )
    level_db: float | None = pydantic.Field(None, description="Mean level, dB re. full scale.")
    flux: float | None = pydantic.Field(None, description="Mean rise from frame to frame, nats.")
    silence_share: float | None = pydantic.Field(None, description="Share of silent frames.")
    tone_100ms: float | None = pydantic.Field(
        None, description="How well tones last 0.1 s, up to 1 (audio/tonality.py)."
    )
    tone_500ms: float | None = pydantic.Field(None, description="The same after 0.5 s.")


class OmittedClip(_Strict):
    """A clip that had faults in every attempt, and so has no file."""

    index: int
    seed: int = pydantic.Field(description="Seed of the last attempt.")
    primer: dict[str, Any] = pydantic.Field(description="Recording and its first frame, or file.")
    health: Health
    attempts: list[Attempt]


class Picture(_Strict):
    """A spectrogram of a clip, published together with it."""

    file: str
    bytes: int
    sha256: str = pydantic.Field(pattern="^[0-9a-f]{64}$")
    crc32c: int = pydantic.Field(ge=0, lt=2**32)


class Clip(OmittedClip):
    """A published clip."""

    file: str
    bytes: int
    sha256: str = pydantic.Field(pattern="^[0-9a-f]{64}$")
    crc32c: int = pydantic.Field(ge=0, lt=2**32)
    duration_seconds: float
    sample_rate: int
    loudness_lufs: float | None = pydantic.Field(
        description="Integrated loudness by ITU-R BS.1770."
    )
    true_peak_db: float
    gain_db: float = pydantic.Field(description="Gain applied to the vocoder's sound.")
    picture: Picture | None = None


class Model(_Strict):
    """The model that made the clips."""

    path: str
    model_id: str = pydantic.Field(description="Hash of the weights and the front end.")
    fingerprint: str = pydantic.Field(description="Fingerprint of the front end.")
    dataset: dict[str, Any]
    train: dict[str, Any] = pydantic.Field(description="Settings of its training run.")


class Manifest(_Strict):
    """A finished generation run."""

    format_version: int
    run_key: str = pydantic.Field(description="Hash of the model and all settings of generation.")
    model: Model
    audio: dict[str, Any] = pydantic.Field(description="Front end.")
    generate: dict[str, Any] = pydantic.Field(description="Settings of the generation run.")
    lineage: dict[str, Any] = pydantic.Field(
        description="Location of ML Metadata, if a pipeline made the clips."
    )
    verdict: str | None = pydantic.Field(
        None,
        description="Verdict on the model: blessed, or `cannot be judged` if it was accepted "
        "unjudged. None if no pipeline made the clips.",
    )
    warnings: dict[str, int] = pydantic.Field(
        {}, description="Number of published clips with each warning."
    )
    clips: list[Clip]
    unhealthy: list[OmittedClip]
