import functools
import pathlib
import sys
from collections.abc import Iterator

import grimp
import pytest

import pipeline
from pipeline.components.code_fingerprint import NODE_CODE
from storage.source_code import code_fingerprint, source_files


@pytest.fixture
def package(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    folder = tmp_path / "fingerprinted"
    (folder / "nested" / "deeper").mkdir(parents=True)
    for path in (folder, folder / "nested", folder / "nested" / "deeper"):
        (path / "__init__.py").write_text("x = 1\n")
    (folder / "module.py").write_text("y = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    # To find a nested package, Python imports those above it.
    for name in [name for name in sys.modules if name.partition(".")[0] == "fingerprinted"]:
        del sys.modules[name]


def fingerprint(*packages: str) -> str:
    code_fingerprint.cache_clear()
    return code_fingerprint(*packages)


def test_code_fingerprint_is_the_same_for_the_same_sources(package: pathlib.Path) -> None:
    assert fingerprint("fingerprinted") == fingerprint("fingerprinted")


@pytest.mark.parametrize(
    "name", ["__init__.py", "module.py", "nested/__init__.py", "nested/deeper/__init__.py"]
)
def test_code_fingerprint_changes_with_a_source_at_any_depth(
    package: pathlib.Path, name: str
) -> None:
    before = fingerprint("fingerprinted")
    (package / name).write_text("x = 2\n")
    assert fingerprint("fingerprinted") != before


def test_code_fingerprint_changes_with_a_new_or_renamed_nested_source(
    package: pathlib.Path,
) -> None:
    before = fingerprint("fingerprinted")
    new = package / "nested" / "new.py"
    new.write_text("")
    added = fingerprint("fingerprinted")
    new.rename(package / "nested" / "newer.py")
    assert len({before, added, fingerprint("fingerprinted")}) == 3


def test_code_fingerprint_of_a_sub_package_ignores_its_siblings(package: pathlib.Path) -> None:
    before = fingerprint("fingerprinted.nested")
    (package / "module.py").write_text("y = 2\n")
    assert fingerprint("fingerprinted.nested") == before
    (package / "nested" / "deeper" / "__init__.py").write_text("x = 2\n")
    assert fingerprint("fingerprinted.nested") != before


def test_code_fingerprint_of_a_module_is_of_that_file(package: pathlib.Path) -> None:
    before = fingerprint("fingerprinted.module")
    (package / "__init__.py").write_text("x = 2\n")
    assert fingerprint("fingerprinted.module") == before
    (package / "module.py").write_text("y = 2\n")
    assert fingerprint("fingerprinted.module") != before


@pytest.mark.parametrize("node", NODE_CODE)
def test_the_fingerprint_of_a_node_covers_all_that_its_code_imports(node: str) -> None:
    entry_point, *packages = NODE_CODE[node]
    imported = import_graph().find_upstream_modules(entry_point)
    assert {
        module
        for module in imported
        if not any(module == package or module.startswith(f"{package}.") for package in packages)
    } == set()
    used = {module.partition(".")[0] for module in (entry_point, *imported)}
    assert {package.partition(".")[0] for package in packages} <= used


@functools.cache
def import_graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        "audio", "beam_transforms", "generator", "pipeline", "storage", "trainer"
    )


def test_the_fingerprint_of_the_evaluator_covers_evaluation_but_not_the_command_line() -> None:
    covered = {path for package in NODE_CODE["Evaluator"] for _, path in source_files(package)}
    folder = pathlib.Path(pipeline.__file__).parent
    assert set((folder / "evaluation").glob("*.py")) <= covered
    assert folder / "components" / "evaluator.py" in covered
    assert not [path for path in covered if (folder / "cli") in path.parents]
