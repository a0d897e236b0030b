"""Draws who imports whom, from the code, into docs/architecture.md.

The drawing stands there between two markers. A test fails where it is not what this program would
write now, so a reader can believe it.

Usage: python -m deploy.import_drawing      (or: make drawing)
Exit code: 0 the page holds the drawing, 1 the page has no place for it.
"""

from __future__ import annotations

import pathlib
import sys
import textwrap
from collections.abc import Iterable, Mapping

import grimp

PACKAGES = ("audio", "beam_transforms", "generator", "pipeline", "trainer")
PAGE = pathlib.Path(__file__).parents[1] / "docs" / "architecture.md"
BEGIN = "<!-- imports: written by `make drawing` -->"
END = "<!-- imports: end -->"
WIDTH = 76  # of the column in which the site shows it


class DrawingError(ValueError):
    """The page has no place for the drawing: the message says what to do."""


def read_graph() -> grimp.ImportGraph:
    """Returns which module of ours imports which, and which libraries; nothing is imported."""
    return grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)


def levels(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Returns names by level: each stands above all that it imports.

    Names that import each other, straight or by way of others, stand on one level.

    Args:
      imports: what each name imports; every imported name is a key, too.

    Returns:
      Sorted names of each level, the lowest level first.
    """
    circle_of = {name: {name} for name in imports}
    for circle in circles(imports):
        circle_of.update({name: set(circle) for name in circle})
    placed: list[list[str]] = []
    below: set[str] = set()
    while len(below) < len(imports):
        level = [
            name
            for name in sorted(imports.keys() - below)
            if all(imports[one] <= below | circle_of[name] for one in circle_of[name])
        ]
        placed.append(level)
        below.update(level)
    return placed


def circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Returns the names that import each other, straight or by way of others, sorted."""
    reached = {name: _reached(imports, name) for name in imports}
    found = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in imports
        if name in reached[name]
    }
    return [list(circle) for circle in sorted(found)]


def _reached(imports: Mapping[str, set[str]], start: str) -> set[str]:
    """Returns all that a name imports by way of anything; itself, where it is in a circle."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = imports[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def draw_packages(graph: grimp.ImportGraph) -> str:
    """Returns the packages, those that import above those that are imported, one line each."""
    imports = {package: _packages_imported(graph, package) for package in PACKAGES}
    lines: list[str] = []
    for level in reversed(levels({name: set(found) for name, found in imports.items()})):
        if lines:
            lines += ["      |", "      v"]
        for package in level:
            lines += _package_lines(graph, package, imports[package])
    return "\n".join(lines)


def draw_modules(graph: grimp.ImportGraph, package: str) -> str:
    """Returns the modules of a package by level, the highest first, each with what it imports.

    Level 0 imports nothing of its package. Imports inside functions count, like all others.
    """
    modules = _modules(graph, package)
    imports = {
        module: {
            name for name in graph.find_modules_directly_imported_by(module) if name in modules
        }
        for module in modules
    }
    placed = levels(imports)
    width = max(len(_short(module, package)) for module in modules)
    lines = []
    for height in reversed(range(len(placed))):
        alone = [module for module in placed[height] if not imports[module]]
        users = [module for module in placed[height] if imports[module]]
        for place, module in enumerate(users):
            head = f"{'' if place else height:>2}  {_short(module, package):{width}} -> "
            lines.append(_wrapped(head, sorted(_short(name, package) for name in imports[module])))
        if alone:
            head = f"{'' if users else height:>2}  "
            lines.append(_wrapped(head, [_short(module, package) for module in alone]))
    for circle in circles(imports):
        names = [_short(name, package) for name in circle]
        lines.append(_wrapped("    in a circle: ", names))
    return "\n".join(lines)


def draw(graph: grimp.ImportGraph) -> str:
    """Returns the drawing of everything: Markdown, with the markers around it."""
    parts = [BEGIN, "", _fenced(draw_packages(graph))]
    for package in reversed(PACKAGES):
        parts += ["", f"**{package}/**", "", _fenced(draw_modules(graph, package))]
    return "\n".join([*parts, "", END])


def put_into(page: str, drawing: str) -> str:
    """Returns a page's text with the drawing in its place.

    Raises:
      DrawingError: the page does not have the two markers, once each and in their order.
    """
    begin, end = page.find(BEGIN), page.find(END)
    if page.count(BEGIN) != 1 or page.count(END) != 1 or end < begin:
        raise DrawingError(
            f"wanted the lines {BEGIN!r} and {END!r} once each, in this order, where the drawing "
            "is to stand. Put them into the page and run `make drawing`."
        )
    return page[:begin] + drawing + page[end + len(END) :]


def _modules(graph: grimp.ImportGraph, package: str) -> set[str]:
    """Returns the modules of a package that hold code; the package's own name is left out."""
    return graph.find_descendants(package)


def _packages_imported(graph: grimp.ImportGraph, package: str) -> dict[str, int]:
    """Returns which packages of ours a package imports, and how often."""
    count: dict[str, int] = {}
    for module in _modules(graph, package) | {package}:
        for name in graph.find_modules_directly_imported_by(module):
            top = name.partition(".")[0]
            if top in PACKAGES and top != package:
                count[top] = count.get(top, 0) + 1
    return dict(sorted(count.items()))


def _libraries(graph: grimp.ImportGraph, package: str) -> list[str]:
    """Returns the libraries that a package imports, without Python's own."""
    found = set()
    for module in _modules(graph, package) | {package}:
        for name in graph.find_modules_directly_imported_by(module):
            top = name.partition(".")[0]
            if top not in PACKAGES and top not in sys.stdlib_module_names:
                found.add(top)
    return sorted(found, key=str.lower)


def _package_lines(
    graph: grimp.ImportGraph, package: str, imported: Mapping[str, int]
) -> list[str]:
    n_modules = len(_modules(graph, package))
    names = [f"{name} ({count})" for name, count in imported.items()]
    head = f"{package}/ ({n_modules} modules)"
    lines = [_wrapped(f"{head:31} -> ", names) if names else head]
    libraries = _libraries(graph, package)
    return [*lines, _wrapped("      libraries: ", libraries)] if libraries else lines


def _wrapped(head: str, names: Iterable[str]) -> str:
    """Returns the names after a head, in lines of WIDTH that begin under the first name."""
    glued = (name.replace(" ", "\0") for name in names)
    return textwrap.fill(
        ", ".join(glued),
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\0", " ")


def _short(module: str, package: str) -> str:
    return module.removeprefix(f"{package}.")


def _fenced(text: str) -> str:
    return f"```text\n{text}\n```"


def main() -> int:
    """Writes the drawing into the page."""
    try:
        text = PAGE.read_text(encoding="utf-8")
        drawn = put_into(text, draw(read_graph()))
    except DrawingError as error:
        print(f"drawing: {error}", file=sys.stderr)
        return 1
    if drawn != text:
        PAGE.write_text(drawn, encoding="utf-8")
    print(f"drawing: {PAGE.name} {'holds it already' if drawn == text else 'is written'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
