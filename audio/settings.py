"""Settings that are declared once, with default, range and description.

    @settings("train")
    class TrainSettings:
        units: int = Field(default=256, ge=1, le=8192)
        \"\"\"Size of each LSTM layer.\"\"\"

From this follow the check of every new object, the text of an error (`train.units: wanted 1 to
8192, got 0`), the comments that `nocturne init` writes, and the JSON schema of the configuration.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any, Literal, TypeVar, cast, dataclass_transform, get_args, get_origin

import pydantic
import pydantic.dataclasses
from pydantic.fields import FieldInfo

from audio.errors import UsageError

_Section = TypeVar("_Section")
_KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a list of texts",
    dict: "names with lists of numbers",
}


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Says in Annotated[...] which values a field takes, where no bounds can say it."""

    text: str


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(pydantic.Field,))
def settings(section: str) -> Callable[[type[_Section]], type[_Section]]:
    """Makes a class of fields a frozen, keyword-only dataclass that checks its values.

    Whole numbers are accepted for numbers, but true and false, texts and infinities are not. Checks
    that concern several fields belong in __post_init__. dataclasses.replace checks the new object.

    Args:
      section: Name of the section in the configuration, for messages.

    Returns:
      A class decorator. Its classes raise UsageError for an unknown name or a value out of range.
    """

    def decorate(cls: type[_Section]) -> type[_Section]:
        config = pydantic.ConfigDict(
            extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
        )
        checked: Any = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=config)(cls)
        validate = checked.__init__

        @functools.wraps(validate)
        def init(self: object, **values: Any) -> None:
            try:
                validate(self, **values)
            except pydantic.ValidationError as error:
                raise _usage_error(section, checked, error) from None

        checked.__init__ = init
        return cast(type[_Section], checked)

    return decorate


def fields(cls: Any) -> dict[str, FieldInfo]:
    """Returns the fields of a class of settings by name."""
    return dict(cls.__pydantic_fields__)


def wanted(field: FieldInfo, *, kind: bool = True) -> str:
    """Returns the values that a field takes, such as "a whole number, 1 to 8192".

    Args:
      field: A field of a class of settings.
      kind: Whether to name the kind of value if there is a range.
    """
    types = [each for each in get_args(field.annotation) if each is not NoneType]
    nullable = NoneType in get_args(field.annotation)
    annotation = types[0] if nullable else field.annotation
    described = [item.text for item in field.metadata if isinstance(item, Wanted)]
    if described:
        text = described[0]
    elif get_origin(annotation) is Literal:
        choices = [str(choice) for choice in get_args(annotation)]
        text = " or ".join(choices) if len(choices) == 2 else f"one of {', '.join(choices)}"
    else:
        name, bounds = _KINDS[get_origin(annotation) or annotation], _range(field)
        text = f"{name}, {bounds}" if kind and bounds else bounds or name
    return f"{text}, or null" if nullable else text


def unknown_key(key: str, known: Iterable[str], *, prefix: str = "") -> UsageError:
    """Returns the error for a key that does not exist, with the closest one that does.

    Args:
      key: The key that was given.
      known: The keys that exist.
      prefix: What to write before a key, such as "train.".
    """
    known = list(known)
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {prefix}{close[0]}?" if close else f"known: {', '.join(known)}"
    return UsageError(f"unknown key {prefix}{key}; {hint}", key=f"{prefix}{key}")


def wrong_value(key: str, text: str, value: object) -> UsageError:
    """Returns the error for a value that a key does not take."""
    return UsageError(f"{key}: wanted {text}, got {value!r}", key=key)


def _usage_error(section: str, cls: Any, error: pydantic.ValidationError) -> UsageError:
    first = error.errors()[0]
    name = str(first["loc"][0])
    if name not in fields(cls):
        return unknown_key(name, fields(cls), prefix=f"{section}.")
    kind = first["type"].endswith("_type") or first["type"] == "finite_number"
    return wrong_value(f"{section}.{name}", wanted(fields(cls)[name], kind=kind), first["input"])


def _range(field: FieldInfo) -> str:
    limits = {
        name: _number(getattr(item, name))
        for item in field.metadata
        for name in ("ge", "gt", "le", "lt", "max_length")
        if getattr(item, name, None) is not None
    }
    match limits:
        case {"ge": low, "le": high}:
            return f"{low} to {high}"
        case {"ge": low, "lt": high}:
            return f"{low} to below {high}"
        case {"gt": low, "le": high}:
            return f"above {low}, at most {high}"
    forms = {
        "ge": "{} or more",
        "gt": "above {}",
        "le": "{} or less",
        "lt": "below {}",
        "max_length": "up to {} characters",
    }
    return ", ".join(forms[name].format(limits[name]) for name in forms if name in limits)


def _number(value: float) -> str:
    if isinstance(value, int) and value >= 2**20 and value & (value - 1) == 0:
        return f"2**{value.bit_length() - 1}"
    return str(value) if isinstance(value, int) else f"{value:g}"
