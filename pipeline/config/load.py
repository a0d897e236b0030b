"""The configuration: YAML files and `--set section.key=value` over the defaults of the settings.

The classes of the sections declare each setting with its default, range and description.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pydantic
import yaml

from audio.config import AudioConfig
from audio.errors import UsageError
from audio.settings import fields, unknown_key, wanted, wrong_value
from beam_transforms.settings import PrepareSettings
from generator import requests
from generator.requests import GenerateSettings
from pipeline.config.sections import (
    BeamSettings,
    EvaluateSettings,
    MetadataSettings,
    ReportSettings,
)
from pipeline.config.yaml_text import explain, read_yaml
from storage import files
from trainer import settings as trainer_settings
from trainer.settings import TrainSettings, TuneSettings

# Values in the configuration files of earlier versions that mean nothing any more: of settings that
# were removed, the value that is used now. Files with these values are still accepted.
_RETIRED = {
    "metadata.port": None,
    "prepare.min_level_db": -60.0,
    "report.currency": "",
    "report.max_clips": 300,
    "train.residual": True,
    "train.steps_per_execution": 1,
    "tune.algorithm": "random",
    "tune.seed": 0,
    "evaluate.seed": 0,
    "evaluate.temperature": None,
    "evaluate.spread": None,
    "evaluate.noise_floor": 0.0,
    "evaluate.max_faulty_share": 0.25,
    "evaluate.min_ratio": 0.65,
    "evaluate.max_ratio": 1.6,
    "evaluate.min_rhythm_ratio": 0.25,
    "evaluate.min_attack_ratio": -0.25,
    "evaluate.max_drift_ratio": 4.0,
    "evaluate.max_kernel_ratio": 2.0,
    "evaluate.min_diversity_ratio": 0.4,
    "evaluate.max_copied_share": 0.2,
    "evaluate.refuse_worse": True,
    **{f"train.{name}": value for name, value in trainer_settings.FIXED.items()},
    **{f"generate.{name}": value for name, value in requests.FIXED.items()},
}
# What to use in place of a setting that was removed, by the beginning of its name.
_REPLACED = {
    "evaluate.m": "Use evaluate.min_score",
    "train.residual": "Use train.head=mse_frame",
    "train.steps_per_execution": "It follows from train.strategy",
    "tune.seed": "Use train.seed",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The whole configuration: one section for each stage."""

    audio: AudioConfig = dataclasses.field(default_factory=AudioConfig)
    prepare: PrepareSettings = dataclasses.field(default_factory=PrepareSettings)
    train: TrainSettings = dataclasses.field(default_factory=TrainSettings)
    tune: TuneSettings = dataclasses.field(default_factory=TuneSettings)
    evaluate: EvaluateSettings = dataclasses.field(default_factory=EvaluateSettings)
    generate: GenerateSettings = dataclasses.field(default_factory=GenerateSettings)
    report: ReportSettings = dataclasses.field(default_factory=ReportSettings)
    beam: BeamSettings = dataclasses.field(default_factory=BeamSettings)
    metadata: MetadataSettings = dataclasses.field(default_factory=MetadataSettings)

    def plain(self) -> dict[str, dict[str, Any]]:
        """Returns the sections as dicts of what YAML can hold."""
        sections: dict[str, dict[str, Any]] = dataclasses.asdict(self)
        sections["beam"] = {name: list(options) for name, options in sections["beam"].items()}
        return sections

    def to_yaml(self) -> str:
        """Returns the whole configuration as YAML; load_config reads it back."""
        return yaml.safe_dump(self.plain(), sort_keys=False)


# The classes of the sections by name.
_SECTIONS: dict[str, Any] = {
    field.name: field.default_factory for field in dataclasses.fields(Config)
}


def load_config(paths: str | Sequence[str] | None = None, overrides: Sequence[str] = ()) -> Config:
    """Returns the configuration of YAML files with overrides on top.

    `${NAME}` in a text value of a file stands for the environment variable of that name, so that
    several cloud projects can share a file.

    Args:
      paths: YAML files of sections. Later files override earlier ones key by key. None gives the
        defaults.
      overrides: Texts of the form `section.key=value`, with values as in YAML.

    Raises:
      UsageError: A file cannot be read, a variable is not set, a key is unknown, or a value has the
        wrong kind or is out of range. The message names the key.
    """
    values: dict[str, Any] = {}
    places: dict[str, str] = {}  # file and line of each key
    for path in [paths] if isinstance(paths, str) else paths or ():
        read, lines = _read(path)
        _lay_over(values, _expanded(read, os.environ, path))
        places.update({key: f"config {path}, line {line}: " for key, line in lines.items()})
    for override in overrides:
        places.pop(_apply(values, override), None)
    try:
        return from_dict(values)
    except UsageError as error:
        raise UsageError(f"{places.get(error.key, '')}{error}", key=error.key) from None


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
      UsageError: A key is unknown, or a value is refused.
    """
    sections: dict[str, Any] = {}
    for name, section in values.items():
        if name not in _SECTIONS:
            raise unknown_key(str(name), _SECTIONS)
        if not isinstance(section, dict):
            raise wrong_value(name, "keys with values", section)
        sections[name] = _SECTIONS[name](**_without_retired(name, section))
    return Config(**sections)


def _without_retired(section: str, values: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns the values of a section without those in _RETIRED.

    Raises:
      UsageError: A setting that was removed has another value.
    """
    kept = {}
    for key, value in values.items():
        name = f"{section}.{key}"
        if name in _RETIRED and (value == _RETIRED[name] or _is_no_limit(key, value)):
            continue
        if name in _RETIRED and key not in fields(_SECTIONS[section]):
            remedy = next((_REPLACED[start] for start in _REPLACED if name.startswith(start)), "")
            raise UsageError(
                f"{name}: this setting was removed; its value is always {_RETIRED[name]!r}, got "
                f"{value!r}. {remedy or 'Remove it'}.",
                key=name,
            )
        kept[str(key)] = value
    return kept


def _is_no_limit(key: object, value: object) -> bool:
    """Returns whether a value switches a limit off, so that nothing changes without it."""
    return value == {"min": -math.inf, "max": math.inf}.get(str(key).partition("_")[0])


class Setting(NamedTuple):
    """The explanation of a setting.

    Attributes:
      key: Full name of the setting, such as train.units.
      default: Default value.
      wanted: Values that the setting takes, such as "a whole number, 1 to 8192".
      description: What the setting does, in one or more sentences.
    """

    key: str
    default: Any
    wanted: str
    description: str


def describe(section: str) -> list[Setting]:
    """Returns the explanations of the settings of a section, such as "train"."""
    defaults = _SECTIONS[section]()
    return [
        Setting(
            key=f"{section}.{name}",
            default=getattr(defaults, name),
            wanted=wanted(field),
            description=" ".join((field.description or "").split()),
        )
        for name, field in fields(_SECTIONS[section]).items()
    ]


def json_schema() -> dict[str, Any]:
    """Returns the JSON schema of configuration files, for editors."""
    schema = pydantic.TypeAdapter(Config).json_schema()
    # YAML reads a section as null if all of its keys are commented out.
    properties = {
        name: {"anyOf": [section, {"type": "null"}]}
        for name, section in schema["properties"].items()
    }
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **schema, "properties": properties, "additionalProperties": False}


def _read(path: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Returns the sections of a file, and the lines of its keys."""
    try:
        with files.open_read(path) as file:
            content = file.read()
        values, lines = read_yaml(content.decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"config {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"config {path}, line {line}: not UTF-8 text. Save the file as UTF-8."
        ) from error
    except yaml.YAMLError as error:
        raise UsageError(f"config {path}, {explain(error)}") from error
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise UsageError(f"config {path}: wanted sections with keys, got {type(values).__name__}")
    # A section all of whose keys are commented out.
    return {name: section for name, section in values.items() if section is not None}, lines


def _apply(values: dict[str, Any], override: str) -> str:
    """Changes one value, and returns its key."""
    name, equals, text = override.partition("=")
    section, dot, key = name.partition(".")
    if not (equals and dot and section and key):
        raise UsageError(f"--set {override}: wanted section.key=value, as in train.steps=500")
    try:
        value, _ = read_yaml(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {override}: the value is {explain(error)}") from error
    inner = values.setdefault(section, {})
    if not isinstance(inner, dict):
        raise wrong_value(section, "keys with values", inner)
    inner[key] = value
    return name
