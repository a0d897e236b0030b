"""Relinking, tried on a real shared object that a C compiler builds here."""

from __future__ import annotations

import ctypes
import pathlib
import subprocess

import pytest

from deploy import relink_wheels
from deploy.relink_wheels import RelinkError, Wheel, needs_newer_system, relink, repair
from tests.support.system import require_program

# A library that versions its symbols as a newer glibc would, and one that needs them.
PROVIDER = "long answer(void) { return 41; }\nlong one(void) { return 1; }\n"
CONSUMER = "long answer(void), one(void);\nlong asked(void) { return answer() + one(); }\n"
OLD, NEW = "GLIBC_2.2.5", "GLIBC_2.38"


@pytest.fixture
def extension(tmp_path: pathlib.Path) -> pathlib.Path:
    """Builds an extension that needs `answer` of version GLIBC_2.38, where only an older one is."""
    cc = require_program("cc")
    (tmp_path / "provider.c").write_text(PROVIDER)
    (tmp_path / "consumer.c").write_text(CONSUMER)
    package = tmp_path / "site" / "pkg"
    package.mkdir(parents=True)
    library, extension = tmp_path / "libprovider.so", package / "ext.so"

    def build(versions: str) -> None:
        (tmp_path / "map").write_text(versions)
        subprocess.run(
            [cc, "-shared", "-fPIC", "-o", library, tmp_path / "provider.c",
             f"-Wl,--version-script={tmp_path / 'map'}", "-Wl,-soname,libprovider.so"],
            check=True,
        )  # fmt: skip

    build(f"{OLD} {{ global: one; local: *; }};\n{NEW} {{ global: answer; }};\n")
    subprocess.run(
        [cc, "-shared", "-fPIC", "-o", extension, tmp_path / "consumer.c", library,
         f"-Wl,-rpath,{tmp_path}"],
        check=True,
    )  # fmt: skip
    build(f"{OLD} {{ global: one; answer; local: *; }};\n")
    return extension


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> Wheel:
    monkeypatch.setattr(relink_wheels, "EQUIVALENTS", {"answer": "answer"})
    monkeypatch.setattr(relink_wheels.importlib.metadata, "version", lambda name: "1.21.0")
    return Wheel(distribution="pkg", module="pkg.ext", extension="pkg/ext.so")


def test_a_module_that_does_not_load_is_relinked_and_one_line_says_so(extension, wheel) -> None:
    site = extension.parents[1]
    assert needs_newer_system(relink_wheels.load_error(extension) or "")
    said = repair(wheel, site)
    assert said == "pkg 1.21.0: 1 symbols of newer systems replaced"
    assert ctypes.CDLL(str(extension)).asked() == 42
    assert [path.name for path in extension.parent.iterdir()] == ["ext.so"]


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
    with pytest.raises(RelinkError, match=r"needs answer \(GLIBC_2\.38\)"):
        repair(wheel, extension.parents[1])
    assert extension.read_bytes() == before
    assert [path.name for path in extension.parent.iterdir()] == ["ext.so"]


def test_a_module_that_fails_for_another_reason_is_not_touched(tmp_path, wheel) -> None:
    path = tmp_path / "pkg" / "ext.so"
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
