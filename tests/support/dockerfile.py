"""Reads a Dockerfile as its builder does: instructions by stage, with arguments filled in."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).parents[2]
PATH = ROOT / "deploy" / "images" / "Dockerfile"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One FROM and what follows."""

    name: str
    base: str
    instructions: list[tuple[str, str]]  # RUN, COPY, ...; the rest of the line

    def all(self, kind: str) -> list[str]:
        """Returns the instructions of a kind."""
        return [rest for each, rest in self.instructions if each == kind]


def stages() -> dict[str, Stage]:
    """Returns the stages by name."""
    lines = [line for line in PATH.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    arguments: dict[str, str] = {}
    found: dict[str, Stage] = {}
    for line in filter(None, text.splitlines()):
        kind, rest = line.split(None, 1)
        if kind == "ARG":
            name, value = rest.split("=")
            arguments[name] = value
        elif kind == "FROM":
            filled = re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], rest)
            base, name = filled.split(" AS ")
            found[name] = Stage(name=name, base=base, instructions=[])
        else:
            found[name].instructions.append((kind, rest))
    return found


def copied_from_here(stage: Stage) -> list[str]:
    """Returns what a stage takes from the repository, by COPY or by a mount."""
    taken = []
    for rest in stage.all("COPY"):
        if not rest.startswith("--from="):
            taken += shlex.split(rest)[:-1]
    for rest in stage.all("RUN"):
        for mount in re.findall(r"--mount=(\S+)", rest):
            options = dict(each.split("=") for each in mount.split(","))
            if "from" not in options:
                taken.append(options["source"])
    return taken


def run_lines(stage: Stage, moved: dict[str, str]) -> list[str]:
    """Returns a stage's RUN lines without mounts, with texts replaced."""
    lines = []
    for rest in stage.all("RUN"):
        line = re.sub(r"--mount=\S+\s*", "", rest)
        for old, new in moved.items():
            line = line.replace(old, new)
        lines.append(line)
    return lines
