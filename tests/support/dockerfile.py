"""Parses deploy/images/Dockerfile into its stages, with the arguments filled in."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).parents[2]
PATH = ROOT / "deploy" / "images" / "Dockerfile"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One FROM instruction and the instructions after it."""

    name: str
    base: str
    instructions: list[tuple[str, str]]  # the keyword (RUN, COPY, ...) and the rest of the line

    def all(self, keyword: str) -> list[str]:
        """Returns the instructions that start with a keyword, without the keyword."""
        return [rest for key, rest in self.instructions if key == keyword]


def stages() -> dict[str, Stage]:
    """Returns the stages by name."""
    lines = [line for line in PATH.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    arguments: dict[str, str] = {}
    by_name: dict[str, Stage] = {}
    for line in filter(None, text.splitlines()):
        keyword, rest = line.split(None, 1)
        if keyword == "ARG":
            argument, value = rest.split("=")
            arguments[argument] = value
        elif keyword == "FROM":
            filled = re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], rest)
            base, name = filled.split(" AS ")
            by_name[name] = Stage(name=name, base=base, instructions=[])
        else:
            by_name[name].instructions.append((keyword, rest))
    return by_name


def copied_from_here(stage: Stage) -> list[str]:
    """Returns the paths of the repository that a stage copies or mounts."""
    paths = []
    for rest in stage.all("COPY"):
        if not rest.startswith("--from="):
            paths += shlex.split(rest)[:-1]
    for rest in stage.all("RUN"):
        for mount in re.findall(r"--mount=(\S+)", rest):
            options = dict(option.split("=") for option in mount.split(","))
            if "from" not in options:
                paths.append(options["source"])
    return paths


def run_lines(stage: Stage, replacements: dict[str, str]) -> list[str]:
    """Returns a stage's RUN lines without their mounts, with texts replaced."""
    lines = []
    for rest in stage.all("RUN"):
        line = re.sub(r"--mount=\S+\s*", "", rest)
        for old, new in replacements.items():
            line = line.replace(old, new)
        lines.append(line)
    return lines
