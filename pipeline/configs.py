"""The configuration: the only place where people edit numbers.

YAML files, later ones over earlier ones, and `--set section.key=value` override these defaults.
Every section's fields, with what they mean and what they may be, stand with its class.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic
import yaml

from audio.config import AudioConfig
from audio.errors import UsageError
from beam_transforms.settings import PrepareSettings
from generator.requests import GenerateSettings
from pipeline.connections import MetadataSettings
from trainer.settings import TrainSettings, TuneSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """When a model is blessed. Figures are those of pipeline/free_running.py.

    The limits were set between models that are known to be good and bad, see docs/evaluation.md.

    Attributes:
      rollouts: free-running rollouts that are held against how real recordings went on.
      rollout_seconds: length of each.
      seed: of the rollouts; the same gives the same figures.
      temperature: of the rollouts; the model's own where none is given.
      spread: of the rollouts, see generate.spread.
      noise_floor: of the rollouts, see generate.noise_floor.
      max_faulty_share: of the rollouts, at most this share may be dead, diverged or fading, drone,
        or loop.
      min_ratio, max_ratio: movement from frame to frame, and variance over time, must be within
        these of the real ones'. A drone or a loop has too little of one of them.
      min_rhythm_ratio: onsets must be at least this regular, of real ones.
      min_attack_ratio: how much steeper sound rises than it falls must be at least this much of
        what it is in real music; what runs backwards has -1.
      max_drift_ratio: the level may change at most so many times as much as in real music.
      max_kernel_ratio: the distance from real continuations may be at most so many times that of
        other real music of the same collection.
      min_diversity_ratio: two clips of one primer must be at least this unlike, of two passages of
        one recording.
      max_copied_share: of stretches of clips, at most this share, beyond that of real held-out
        music, may be copies of the training recordings.
      refuse_worse: whether a model fails that is clearly worse than the last blessed one: in
        distance or in rhythm, the whole interval beyond the other's.
    """

    rollouts: int = 16
    rollout_seconds: float = 10.0
    seed: int = 0
    temperature: float | None = None
    spread: float | None = None
    noise_floor: float = 0.0
    max_faulty_share: float = 0.25
    min_ratio: float = 0.65
    max_ratio: float = 1.6
    min_rhythm_ratio: float = 0.25
    min_attack_ratio: float = -0.25
    max_drift_ratio: float = 4.0
    max_kernel_ratio: float = 2.0
    min_diversity_ratio: float = 0.4
    max_copied_share: float = 0.2
    refuse_worse: bool = True

    def __post_init__(self) -> None:
        checks = {
            "rollouts": (2 <= self.rollouts <= 1000, "2 to 1000"),
            "rollout_seconds": (0.5 <= self.rollout_seconds <= 600, "0.5 to 600"),
            "seed": (0 <= self.seed < 2**31, "0 to below 2**31"),
            "temperature": (
                self.temperature is None or 0 <= self.temperature <= 10,
                "0 to 10, or null",
            ),
            "spread": (self.spread is None or 0 <= self.spread <= 10, "0 to 10, or null"),
            "noise_floor": (0 <= self.noise_floor <= 10, "0 to 10"),
            "max_faulty_share": (0 <= self.max_faulty_share <= 1, "0 to 1"),
            "min_ratio": (0 <= self.min_ratio <= 1, "0 to 1"),
            "max_ratio": (self.max_ratio >= 1, "1 or more"),
            "min_rhythm_ratio": (0 <= self.min_rhythm_ratio <= 1, "0 to 1"),
            "min_attack_ratio": (self.min_attack_ratio <= 1, "1 or less"),
            "max_drift_ratio": (self.max_drift_ratio >= 1, "1 or more"),
            "max_kernel_ratio": (self.max_kernel_ratio > 0, "above 0"),
            "min_diversity_ratio": (0 <= self.min_diversity_ratio <= 1, "0 to 1"),
            "max_copied_share": (0 <= self.max_copied_share <= 1, "0 to 1"),
        }
        for name, (ok, wanted) in checks.items():
            if not ok:
                raise UsageError(f"evaluate.{name}: wanted {wanted}, got {getattr(self, name)!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BeamSettings:
    """Where Beam jobs run. All are options of the Beam pipeline, as on its command line.

    Attributes:
      args: of every job. FnApiRunner is named because DirectRunner picks an engine by what it can
        download, and results should not hang on that.
      prepare_args: what preparation has on top: its name, its image, its machines.
      generate_args: what generation has on top.
    """

    args: tuple[str, ...] = ("--runner=FnApiRunner",)
    prepare_args: tuple[str, ...] = ()
    generate_args: tuple[str, ...] = ()

    @property
    def prepare(self) -> tuple[str, ...]:
        """The options of preparation. Of an option that is given twice, Beam takes the later."""
        return self.args + self.prepare_args

    @property
    def generate(self) -> tuple[str, ...]:
        """The options of generation."""
        return self.args + self.generate_args


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """What the page of a run shows.

    Attributes:
      max_clips: so many clips at most; a night of more is listed whole in its manifest.
      price_per_hour: of the machine that runs the stages; without one the page tells times alone.
      currency: of the price, such as EUR.
    """

    max_clips: int = 300
    price_per_hour: float | None = None
    currency: str = ""

    def __post_init__(self) -> None:
        price = self.price_per_hour
        checks = {
            "max_clips": (1 <= self.max_clips <= 10_000, "1 to 10000"),
            "price_per_hour": (price is None or 0 <= price < 1e6, "0 to 1000000, or null"),
            "currency": (
                len(self.currency) <= 8 and self.currency.isprintable(),
                "up to 8 characters",
            ),
        }
        for name, (ok, wanted) in checks.items():
            if not ok:
                raise UsageError(f"report.{name}: wanted {wanted}, got {getattr(self, name)!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All of it, one section a stage."""

    audio: AudioConfig = dataclasses.field(default_factory=AudioConfig)
    prepare: PrepareSettings = dataclasses.field(default_factory=PrepareSettings)
    train: TrainSettings = dataclasses.field(default_factory=TrainSettings)
    tune: TuneSettings = dataclasses.field(default_factory=TuneSettings)
    evaluate: EvaluateSettings = dataclasses.field(default_factory=EvaluateSettings)
    generate: GenerateSettings = dataclasses.field(default_factory=GenerateSettings)
    report: ReportSettings = dataclasses.field(default_factory=ReportSettings)
    beam: BeamSettings = dataclasses.field(default_factory=BeamSettings)
    metadata: MetadataSettings = dataclasses.field(default_factory=MetadataSettings)

    def to_yaml(self) -> str:
        """Returns the whole configuration as YAML; load_config reads it back."""
        plain = dataclasses.asdict(self)
        plain["beam"] = {name: list(options) for name, options in plain["beam"].items()}
        return yaml.safe_dump(plain, sort_keys=False)


def load_config(paths: str | Sequence[str] | None = None, overrides: Sequence[str] = ()) -> Config:
    """Returns the configuration of YAML files with overrides on top.

    `${NAME}` in a file's text values is the environment variable of that name, so that a file of
    a cloud project can be shared between projects.

    Args:
      paths: YAML files of sections, a later one over an earlier one key by key; None for the
        defaults.
      overrides: `section.key=value`, value as in YAML.

    Raises:
      UsageError: a file cannot be read, a variable is not set, a key is unknown, a value of the
        wrong kind or out of range; the message names the key.
    """
    values: dict[str, Any] = {}
    for path in [paths] if isinstance(paths, str) else paths or ():
        _lay_over(values, _expanded(_read(path), os.environ, path))
    for override in overrides:
        _apply(values, override)
    return from_dict(values)


def _lay_over(values: dict[str, Any], later: dict[str, Any]) -> None:
    for key, value in later.items():
        inner = values.get(key)
        if isinstance(inner, dict) and isinstance(value, dict):
            _lay_over(inner, value)
        else:
            values[key] = value


def _expanded(value: Any, variables: Mapping[str, str], path: str) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(inner, variables, path) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expanded(inner, variables, path) for inner in value]
    if not isinstance(value, str):
        return value

    def content(match: re.Match[str]) -> str:
        if not variables.get(match[1]):
            raise UsageError(
                f"config {path}: {value!r} wants the environment variable {match[1]}, which is not "
                f"set. Set it (export {match[1]}=...), or write the value into the file."
            )
        return variables[match[1]]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", content, value)


def from_dict(values: dict[str, Any]) -> Config:
    """Returns the configuration of nested plain values.

    Raises:
      UsageError: as load_config.
    """
    _refuse_unknown(values, Config, "")
    try:
        return pydantic.TypeAdapter(Config).validate_python(values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{key}: {first['msg'].lower()}, got {first['input']!r}") from error


def _read(path: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(_text(path))
    except OSError as error:
        raise UsageError(f"config {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"config {path}: not YAML: {str(error).splitlines()[0]}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"config {path}: wanted sections with keys, got {type(values).__name__}")
    # A section all of whose keys are commented out.
    return {name: section for name, section in values.items() if section is not None}


def _text(path: str) -> str:
    if "://" not in path:
        return pathlib.Path(path).read_text()
    from beam_transforms import storage

    return storage.read_text(path)


def _apply(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    section, dot, key = name.partition(".")
    if not (equals and dot and section and key):
        raise UsageError(f"--set {override}: wanted section.key=value, as in train.steps=500")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {override}: the value is not YAML") from error
    inner = values.setdefault(section, {})
    if not isinstance(inner, dict):
        raise UsageError(f"{section}: wanted keys, got {inner!r}")
    inner[key] = value


def _refuse_unknown(values: Any, kind: type, prefix: str) -> None:
    if not isinstance(values, dict):
        return  # pydantic says what was wanted
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in values.items():
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known: {', '.join(fields)}"
            raise UsageError(f"unknown key {prefix}{key}; {hint}")
        default = fields[key].default_factory
        if isinstance(default, type) and dataclasses.is_dataclass(default):
            _refuse_unknown(value, default, f"{prefix}{key}.")
