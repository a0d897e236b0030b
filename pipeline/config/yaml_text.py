"""YAML as people write it: what is ambiguous or impossible is refused, with its line.

YAML 1.1, which PyYAML reads, takes `0512` for 330, `22:50` for 1370, and the last of two equal keys
without a word. Here these are errors. In return, `1e-3` is a number, as in YAML 1.2 and JSON.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

# More levels than any setting needs.
_MAX_LEVELS = 16
# More values than any configuration has. Ten aliases of ten aliases of ten ... are billions.
_MAX_VALUES = 10_000
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_WITH_EXPONENT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+")
_FLOAT = "tag:yaml.org,2002:float"


def read_yaml(text: str) -> tuple[Any, dict[str, int]]:
    """Returns the values of a YAML text, and the lines of its keys.

    Args:
      text: One YAML document.

    Returns:
      The values, and the line of each key of the first two levels, such as `train` and
      `train.steps`, counted from 1.

    Raises:
      yaml.YAMLError: The text is not YAML, or means something else than it seems to; see explain.
    """
    loader = _Loader(text)
    marks: dict[str, Any] = {}
    try:
        root = loader.get_single_node()
        if root is None:
            return None, {}
        marks = _key_marks(root)
        _count_values(root, {})
        return loader.construct_document(root), {key: mark.line + 1 for key, mark in marks.items()}
    except _RefusedError as error:
        before = [
            (mark.index, key)
            for key, mark in marks.items()
            if mark.index <= error.problem_mark.index
        ]
        error.key = error.key or max(before, default=(0, ""))[1]
        raise
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise yaml.YAMLError(f"a value does not fit its tag ({error})") from error
    finally:
        loader.dispose()


def explain(error: yaml.YAMLError) -> str:
    """Returns what is wrong with a text in one line, with line and key where they are known."""
    if isinstance(error, _RefusedError):
        key = f"{error.key}: " if error.key else ""
        return f"line {error.problem_mark.line + 1}: {key}{error.problem}"
    mark = getattr(error, "problem_mark", None)
    line = f"line {mark.line + 1}: " if mark else ""
    return f"{line}not YAML: {getattr(error, 'problem', None) or ' '.join(str(error).split())}"


class _RefusedError(yaml.MarkedYAMLError):
    """The text is YAML, but is ambiguous or impossible."""

    def __init__(self, problem: str, mark: Any, key: str = "") -> None:
        super().__init__(problem=problem, problem_mark=mark)
        self.problem_mark: Any = mark
        self.key = key


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with stricter numbers and keys."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._around: list[Any] = []  # the key, or the index in a list, of each level

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Reads a node and those inside it."""
        self._around.append(index)
        if len(self._around) > _MAX_LEVELS:
            keys = [each.value for each in self._around if isinstance(each, yaml.ScalarNode)]
            raise _RefusedError(
                f"nested in more than {_MAX_LEVELS} levels",
                self.peek_event().start_mark,
                ".".join(keys[:2]),
            )
        node = super().compose_node(parent, index)
        self._around.pop()
        return node

    def read_map(self, node: Any) -> dict[Any, Any]:
        """Returns a mapping; PyYAML alone would keep the last of equal keys."""
        first: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and first.setdefault(key.value, key) is not key:
                line = first[key.value].start_mark.line + 1
                raise _RefusedError(
                    f"{key.value} is given a second time, after line {line}. Keep one of them.",
                    key.start_mark,
                )
        return self.construct_mapping(node, deep=True)

    def read_seq(self, node: Any) -> list[Any]:
        """Returns a sequence."""
        return self.construct_sequence(node, deep=True)

    def read_int(self, node: Any) -> int:
        """Returns a whole number that has one meaning only."""
        text = str(node.value)
        if _OCTAL.fullmatch(text):
            plain = ("-" if text[0] == "-" else "") + (text.lstrip("+-0_") or "0")
            raise _RefusedError(
                f"{text} is ambiguous: with a zero in front, YAML reads it as an octal number. "
                f"Write {plain}.",
                node.start_mark,
            )
        _refuse_sexagesimal(node)
        if len(text) > 100:
            raise _RefusedError(f"wanted a number, got one of {len(text)} digits", node.start_mark)
        return int(super().construct_yaml_int(node))

    def read_float(self, node: Any) -> float:
        """Returns a number; 1e3, which has no point, is the whole number 1000."""
        _refuse_sexagesimal(node)
        text = str(node.value).replace("_", "")
        if not _WITH_EXPONENT.fullmatch(text):
            return float(super().construct_yaml_float(node))
        number = float(text)
        if math.isinf(number):
            raise _RefusedError(f"{text} is larger than any number here", node.start_mark)
        return int(number) if "." not in text and number.is_integer() else number

    def read_timestamp(self, node: Any) -> str:
        """Returns a date as the text that it is written as; no setting is a date for YAML."""
        try:
            super().construct_yaml_timestamp(node)
        except ValueError as error:
            raise _RefusedError(f"{node.value} is not a date: {error}", node.start_mark) from error
        return str(node.value)

    def read_binary(self, node: Any) -> Any:
        """Refuses bytes, which no setting takes."""
        raise _RefusedError("wanted text, got !!binary", node.start_mark)


for _name in ("map", "seq", "int", "float", "timestamp", "binary"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", getattr(_Loader, f"read_{_name}"))
_Loader.add_implicit_resolver(
    _FLOAT, re.compile(rf"^(?:{_WITH_EXPONENT.pattern})$"), list("-+.0123456789")
)


def _refuse_sexagesimal(node: Any) -> None:
    if ":" in node.value:
        raise _RefusedError(
            f"{node.value} is ambiguous: YAML reads it as a number in base 60. Write a plain "
            "number, or put text in quotes.",
            node.start_mark,
        )


def _count_values(node: yaml.Node, counts: dict[int, int]) -> int:
    """Returns the number of values of a node, with aliases written out.

    Args:
      node: A node of the graph that the aliases form.
      counts: Counts of nodes by their identity, so that each is visited once. It is 0 while the
        nodes inside are counted.
    """
    if counts.get(id(node)) == 0:
        raise _RefusedError("a value that contains itself", node.start_mark)
    if id(node) not in counts:
        counts[id(node)] = 0
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            inner = node.value
        elif isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        counts[id(node)] = 1 + sum(_count_values(each, counts) for each in inner)
    if counts[id(node)] > _MAX_VALUES:
        raise _RefusedError(f"stands for more than {_MAX_VALUES} values", node.start_mark)
    return counts[id(node)]


def _key_marks(root: yaml.Node) -> dict[str, Any]:
    """Returns where the keys of the first two levels are, in their order."""
    marks: dict[str, Any] = {}
    for section, keys in _pairs(root):
        marks[str(section.value)] = section.start_mark
        for key, _ in _pairs(keys):
            marks[f"{section.value}.{key.value}"] = key.start_mark
    return marks


def _pairs(node: yaml.Node) -> list[tuple[Any, Any]]:
    return node.value if isinstance(node, yaml.MappingNode) else []
