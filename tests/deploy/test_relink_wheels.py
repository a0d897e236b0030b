"""Relinking, tried on a real extension module that is changed to need a newer glibc."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import lief
import markupsafe._speedups
import pytest

from deploy import relink_wheels
from deploy.relink_wheels import RelinkError, Wheel, needs_newer_system, relink, repair

# A real symbol and version of glibc, and the ones that stand for those of a newer glibc.
OLD_SYMBOL, OLD_VERSION = "memcpy", "GLIBC_2.14"
NEW_SYMBOL, NEW_VERSION = "memcpy_of_2099", "GLIBC_2.99"


@pytest.fixture
def extension(tmp_path: pathlib.Path) -> pathlib.Path:
    """Writes a copy of markupsafe's extension module that needs a symbol of a newer glibc."""
    path = tmp_path / "site" / "pkg" / "_speedups.so"
    path.parent.mkdir(parents=True)
    binary = lief.ELF.parse(markupsafe._speedups.__file__)
    assert binary is not None
    (symbol,) = (symbol for symbol in binary.dynamic_symbols if symbol.name == OLD_SYMBOL)
    assert symbol.symbol_version is not None
    auxiliary = symbol.symbol_version.symbol_version_auxiliary
    assert auxiliary is not None
    assert auxiliary.name == OLD_VERSION
    symbol.name, auxiliary.name = NEW_SYMBOL, NEW_VERSION
    binary.write(str(path))
    return path


def escape(extension: pathlib.Path, text: str) -> str:
    """Returns what the extension module makes of a text, in a process of its own."""
    code = (
        "import importlib.util as util, sys\n"
        "spec = util.spec_from_file_location('_speedups', sys.argv[1])\n"
        "module = util.module_from_spec(spec)\n"
        "print(module._escape_inner(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(extension), text]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> Wheel:
    monkeypatch.setattr(relink_wheels, "EQUIVALENTS", {NEW_SYMBOL: OLD_SYMBOL})
    monkeypatch.setattr(relink_wheels, "NEW_VERSIONS", {NEW_VERSION})
    monkeypatch.setattr(relink_wheels.importlib.metadata, "version", lambda name: "1.21.0")
    return Wheel(distribution="pkg", module="pkg._speedups", extension="pkg/_speedups.so")


def test_a_module_that_does_not_load_is_relinked_and_one_line_says_so(extension, wheel) -> None:
    site = extension.parents[1]
    assert needs_newer_system(relink_wheels.load_error(extension) or "")
    said = repair(wheel, site)
    assert said == "pkg 1.21.0: 1 symbols of newer systems replaced"
    assert escape(extension, "<a>") == "&lt;a&gt;"
    assert [path.name for path in extension.parent.iterdir()] == ["_speedups.so"]


def test_a_second_call_does_nothing(extension, wheel) -> None:
    site = extension.parents[1]
    repair(wheel, site)
    before = extension.stat().st_mtime_ns
    assert repair(wheel, site) is None
    assert extension.stat().st_mtime_ns == before


def test_a_hard_link_in_a_shared_cache_keeps_its_bytes(extension, wheel) -> None:
    cache = extension.parents[2] / "cache.so"
    cache.hardlink_to(extension)
    before = cache.read_bytes()
    repair(wheel, extension.parents[1])
    assert cache.read_bytes() == before
    assert extension.read_bytes() != before
    assert extension.stat().st_mode & 0o777 == cache.stat().st_mode & 0o777


def test_an_unknown_release_is_refused_and_left_alone(extension, wheel, monkeypatch) -> None:
    monkeypatch.setattr(relink_wheels.importlib.metadata, "version", lambda name: "1.22.0")
    before = extension.read_bytes()
    with pytest.raises(
        RelinkError, match=r"pkg is 1\.22\.0; this program can relink only 1\.21\.0"
    ):
        repair(wheel, extension.parents[1])
    assert extension.read_bytes() == before


def test_a_symbol_without_equivalent_is_refused(extension, wheel, monkeypatch) -> None:
    monkeypatch.setattr(relink_wheels, "EQUIVALENTS", {})
    before = extension.read_bytes()
    with pytest.raises(RelinkError, match=rf"needs {NEW_SYMBOL} \({NEW_VERSION}\)"):
        repair(wheel, extension.parents[1])
    assert extension.read_bytes() == before
    assert [path.name for path in extension.parent.iterdir()] == ["_speedups.so"]


def test_a_module_that_fails_for_another_reason_is_not_touched(tmp_path, wheel) -> None:
    path = tmp_path / "pkg" / "_speedups.so"
    path.parent.mkdir()
    path.write_bytes(b"not a library")
    with pytest.raises(RelinkError, match="relinking cannot help"):
        repair(wheel, tmp_path)
    assert path.read_bytes() == b"not a library"


def test_a_file_that_is_not_elf_is_refused(tmp_path) -> None:
    (tmp_path / "x").write_bytes(b"text")
    with pytest.raises(RelinkError, match="not an ELF"):
        relink(tmp_path / "x", tmp_path / "y")


def test_this_environment_needs_no_more_relinking() -> None:
    assert relink_wheels.main() == 0
