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
from pipeline.config.sections import (
    BeamSettings,
    EvaluateSettings,
    MetadataSettings,
    ReportSettings,
)
from trainer.settings import TrainSettings, TuneSettings


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
    from storage import files

    return files.read_text(path)


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
