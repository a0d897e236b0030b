"""The drawing of the imports in docs/architecture.md is what the code says."""

from __future__ import annotations

import grimp
import pytest

from deploy import import_drawing
from deploy.import_drawing import (
    BEGIN,
    END,
    DrawingError,
    circles,
    draw_modules,
    draw_packages,
    levels,
    put_into,
)


def test_the_drawing_in_the_docs_is_what_the_code_says() -> None:
    page = import_drawing.PAGE.read_text(encoding="utf-8")
    wanted = put_into(page, import_drawing.draw(import_drawing.read_graph()))
    assert page == wanted, "docs/architecture.md does not say who imports whom: run `make drawing`"


def small_graph() -> grimp.ImportGraph:
    graph = grimp.ImportGraph()
    for module in ("audio.mel", "audio.errors", "trainer.model", "trainer.heads"):
        graph.add_module(module)
    for package in import_drawing.PACKAGES:
        graph.add_module(package)
    for library in ("numpy", "json"):
        graph.add_module(library, is_squashed=True)
    for importer, imported in (
        ("audio.mel", "audio.errors"),
        ("audio.mel", "numpy"),
        ("audio.mel", "json"),
        ("trainer.model", "audio.mel"),
        ("trainer.model", "audio.errors"),
        ("trainer.model", "trainer.heads"),
        ("pipeline", "trainer.model"),
    ):
        graph.add_import(importer=importer, imported=imported)
    return graph


def test_packages_stand_above_what_they_import_with_counts_and_libraries() -> None:
    lines = [line.rstrip() for line in draw_packages(small_graph()).splitlines()]
    assert lines == [
        "pipeline/ (0 modules)           -> trainer (1)",
        "      |",
        "      v",
        "trainer/ (2 modules)            -> audio (2)",
        "      |",
        "      v",
        "audio/ (2 modules)",
        "      libraries: numpy",
        "beam_transforms/ (0 modules)",
        "generator/ (0 modules)",
    ]


def test_modules_stand_above_what_they_import() -> None:
    graph = small_graph()
    assert draw_modules(graph, "audio").splitlines() == [" 1  mel    -> errors", " 0  errors"]
    graph.add_import(importer="audio.errors", imported="audio.mel")
    assert draw_modules(graph, "audio").splitlines() == [
        " 0  errors -> mel",
        "    mel    -> errors",
        "    in a circle: errors, mel",
    ]


def test_a_name_stands_above_all_that_it_imports() -> None:
    imports = {"top": {"middle", "low"}, "middle": {"low"}, "low": set(), "other": {"low"}}
    assert levels(imports) == [["low"], ["middle", "other"], ["top"]]
    assert circles(imports) == []


def test_names_in_a_circle_stand_on_one_level() -> None:
    imports = {"user": {"a"}, "a": {"b"}, "b": {"c"}, "c": {"a", "low"}, "low": set()}
    assert circles(imports) == [["a", "b", "c"]]
    assert levels(imports) == [["low"], ["a", "b", "c"], ["user"]]


@pytest.mark.parametrize(
    "page", ["no place", f"{BEGIN}\n", f"{END}\n{BEGIN}", f"{BEGIN}{END}{END}"]
)
def test_a_page_without_a_place_for_the_drawing_is_refused(page: str) -> None:
    with pytest.raises(DrawingError, match="make drawing"):
        put_into(page, "drawing")


def test_text_around_the_drawing_stays() -> None:
    assert put_into(f"before\n{BEGIN} old {END}\nafter\n", "new") == "before\nnew\nafter\n"
