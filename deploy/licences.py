"""Writes docs/licences.md: what each package in the images may be used under.

Usage: python deploy/licences.py [--check]      (in the environment of locked.txt)
With --check it writes nothing, and ends with 1 where the file is not what it would write.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]
FILE = ROOT / "docs" / "licences.md"
LOCKS = ("worker", "generate", "pipeline")  # each a part of the next
# Packages that say nothing in a field that programs read. Each was looked up in the package.
SAID_ELSEWHERE = {"namex": "Apache-2.0"}  # its file LICENSE
HEAD = """# Licences of what the images hold

`make licences` writes this page from the packages' own statements, for the locks of the images. The
column says in which image a package first appears: `worker`, `generate` (worker and more) or
`pipeline` (all). What a wheel carries inside can have another licence than the package: see
[supply_chain.md](supply_chain.md).

| package | version | licence | image |
|---|---|---|---|
"""


def pinned(lock: str) -> dict[str, str]:
    """Returns the versions of a lock by name, of those pins that are for this machine."""
    found = {}
    for line in (ROOT / "requirements" / f"{lock}.txt").read_text().splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            requirement = Requirement(line.rstrip(" \\"))
            if requirement.marker is None or requirement.marker.evaluate():
                name = str(canonicalize_name(requirement.name))
                found[name] = next(iter(requirement.specifier)).version
    return found


def stated() -> dict[str, tuple[str, str]]:
    """Returns the version and the licence of each installed package, by name."""
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--from=mixed"]
    command += ["--with-system"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {
        str(canonicalize_name(each["Name"])): (each["Version"], one_line(each["License"]))
        for each in json.loads(done.stdout)
    }


def one_line(licence: str) -> str:
    """Returns a statement as one cell of a table: some packages put the whole text there."""
    first = next((line.strip() for line in licence.splitlines() if line.strip()), "UNKNOWN")
    return first.replace("|", "/")


def page() -> str:
    """Returns the page.

    Raises:
      ValueError: the environment is not that of the locks, or a package states no licence.
    """
    found = stated()
    rows, seen = [], set()
    for lock in LOCKS:
        for name, version in sorted(pinned(lock).items()):
            if name in seen:
                continue
            seen.add(name)
            installed, licence = found.get(name, ("", ""))
            if installed != version:
                raise ValueError(f"{name}: wanted {version}, installed is {installed or 'none'}")
            licence = SAID_ELSEWHERE.get(name, licence)
            if licence == "UNKNOWN":
                raise ValueError(f"{name} states no licence: look it up for SAID_ELSEWHERE")
            rows.append((name, version, licence, lock))
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in sorted(rows))


def main(argv: list[str]) -> int:
    """Writes or checks the page; returns the exit code."""
    try:
        text = page()
    except ValueError as error:
        print(f"licences: {error}", file=sys.stderr)
        return 1
    if "--check" not in argv:
        FILE.write_text(text)
    elif not FILE.exists() or FILE.read_text() != text:
        print("licences: docs/licences.md is not that of the locks: make licences", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
