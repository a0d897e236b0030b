"""Settings: what is refused, with which message, and what stays an ordinary dataclass."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from audio.errors import UsageError
from audio.settings import Wanted, fields, settings, unknown_key, wanted, wrong_value


@settings("test")
class Example:
    """Settings of each kind."""

    count: int = Field(default=4, ge=1, le=8)
    """Number of things."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    share: float = Field(default=0.5, ge=0, lt=1)
    rate: float = Field(default=0.1, gt=0, le=1)
    floor: float = Field(default=1e-10, gt=1e-30, lt=1)
    steps: int = Field(default=1, ge=1)
    seconds: float = Field(default=1.0, gt=0)
    level: float | None = Field(default=None, le=0)
    name: str = Field(default="", max_length=3)
    path: str = ""
    on: bool = False
    pair: Literal["left", "right"] = "left"
    kind: Literal["a", "b", "c"] = "a"
    options: tuple[str, ...] = Field(default=(), strict=False)
    host: Annotated[str, Wanted("a host name")] = Field(default="h", pattern="^[a-z]+$")

    def __post_init__(self) -> None:
        if self.name == "no":
            raise wrong_value("test.name", "another name", self.name)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("count", 0, "1 to 8"),
        ("count", 9, "1 to 8"),
        ("count", 2.0, "a whole number, 1 to 8"),
        ("count", True, "a whole number, 1 to 8"),
        ("count", "2", "a whole number, 1 to 8"),
        ("count", None, "a whole number, 1 to 8"),
        ("seed", -1, "0 to below 2**31"),
        ("seed", 2**31, "0 to below 2**31"),
        ("share", 1, "0 to below 1"),
        ("share", False, "a number, 0 to below 1"),
        ("share", "0.5", "a number, 0 to below 1"),
        ("share", float("nan"), "a number, 0 to below 1"),
        ("rate", 0, "above 0, at most 1"),
        ("floor", 1e-31, "above 1e-30, below 1"),
        ("steps", 0, "1 or more"),
        ("seconds", 0, "above 0"),
        ("seconds", float("inf"), "a number, above 0"),
        ("level", 1, "0 or less, or null"),
        ("level", True, "a number, 0 or less, or null"),
        ("name", "long", "up to 3 characters"),
        ("name", 5, "text, up to 3 characters"),
        ("name", "no", "another name"),
        ("path", None, "text"),
        ("on", 1, "true or false"),
        ("on", "yes", "true or false"),
        ("pair", "both", "left or right"),
        ("kind", "d", "one of a, b, c"),
        ("options", "--a", "a list of texts"),
        ("options", [5], "a list of texts"),
        ("host", "a b", "a host name"),
    ],
)
def test_a_value_that_is_refused_is_named_with_what_was_wanted(
    field: str, value: Any, text: str
) -> None:
    got = value[0] if isinstance(value, list) else value
    with pytest.raises(UsageError) as caught:
        Example(**{field: value})
    assert str(caught.value) == f"test.{field}: wanted {text}, got {got!r}"
    with pytest.raises(UsageError):
        dataclasses.replace(Example(), **{field: value})


def test_whole_numbers_are_numbers_and_lists_are_tuples() -> None:
    made = Example(seconds=2, options=["--a"])  # type: ignore[arg-type]
    assert (made.seconds, type(made.seconds)) == (2.0, float)
    assert made.options == ("--a",)


def test_an_unknown_name_is_refused_with_the_closest_one() -> None:
    with pytest.raises(UsageError, match=r"^unknown key test\.cuont; did you mean test\.count\?$"):
        Example(cuont=3)  # type: ignore[call-arg]
    assert str(unknown_key("x", ["some", "other"])) == "unknown key x; known: some, other"


def test_it_is_a_frozen_dataclass_that_survives_a_pickle() -> None:
    made = dataclasses.replace(Example(), count=8)
    assert made == Example(count=8)
    assert pickle.loads(pickle.dumps(made)) == made
    assert dataclasses.asdict(made)["count"] == 8
    assert list(fields(Example)) == [field.name for field in dataclasses.fields(Example)]
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.count = 3  # type: ignore[misc]


def test_a_field_is_described_by_the_text_below_it() -> None:
    field = fields(Example)["count"]
    assert field.description == "Number of things."
    assert wanted(field) == "a whole number, 1 to 8"
