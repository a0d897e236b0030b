"""Compiled functions work where nothing can be written, and are compiled again there."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from audio import compiled

CODE = "import module; assert module.double(3) == 6"
MODULE = """
from audio.compiled import compiled
@compiled(nogil=True)
def double(x):
    return 2 * x
"""


def call(folder: pathlib.Path, **environment: str) -> None:
    """Calls a compiled function of a module in a folder, in a process without a home."""
    (folder / "module.py").write_text(MODULE)
    root = pathlib.Path(compiled.__file__).parents[1]
    subprocess.run(
        [sys.executable, "-B", "-c", CODE],
        env={"PYTHONPATH": f"{folder}:{root}", "HOME": "/dev/null/none", **environment},
        check=True,
        capture_output=True,
    )


def cached(folder: pathlib.Path) -> list[str]:
    return sorted(path.suffix for path in folder.rglob("*.nb?"))


def test_the_code_is_kept_beside_the_source(tmp_path) -> None:
    call(tmp_path)
    assert cached(tmp_path) == [".nbc", ".nbi"]


@pytest.mark.parametrize("folder", ["", "/dev/null/none", "/proc"])
def test_a_function_works_where_no_code_can_be_kept(tmp_path, folder: str) -> None:
    (tmp_path / "__pycache__").touch()  # a file, so that even root cannot write into it
    call(tmp_path, NUMBA_CACHE_DIR=folder)
    assert cached(tmp_path) == []


def test_a_function_works_if_its_cache_cannot_be_read_or_written(tmp_path) -> None:
    call(tmp_path)
    (index,) = (tmp_path / "__pycache__").glob("*.nbi")
    index.unlink()
    index.mkdir()
    call(tmp_path)
