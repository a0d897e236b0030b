"""Commands of a user without a name or a home, on an installation that cannot be written."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

import pipeline
from pipeline.cli.home import provide_home
from tests.support import signals
from tests.support.command import NOCTURNE

ROOT = pathlib.Path(pipeline.__file__).parents[1]
# Makes everything but the current folder read-only, and starts a command as a user with a number
# that no name belongs to.
SCRIPT = """
mount --make-rprivate / && mount --bind "$PWD" "$PWD" && mount -o remount,bind,ro / || exit 99
cd "$PWD" && exec env -i PATH=/usr/bin:/bin TMPDIR="$PWD/tmp" PYTHONPATH={root} $SETTINGS \
  unshare --user --map-user=54321 --map-group=54321 {command}
"""


def test_a_user_without_a_home_gets_one(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for home in ("/nonexistent", str(tmp_path / "none"), "/dev/null/none"):
        monkeypatch.setenv("HOME", home)
        provide_home()
        folder = pathlib.Path(os.environ["HOME"])
        assert folder == tmp_path / f"nocturne-{os.getuid()}"
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_home_that_others_could_write_to_is_not_used(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", "/nonexistent")
    shared = tmp_path / f"nocturne-{os.getuid()}"
    shared.mkdir()
    shared.chmod(0o777)
    provide_home()
    assert pathlib.Path(os.environ["HOME"]).parent == tmp_path
    assert pathlib.Path(os.environ["HOME"]) != shared


def test_a_home_that_exists_is_kept(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    provide_home()
    assert os.environ["HOME"] == str(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["", "HOME=/nonexistent NUMBA_CACHE_DIR=/proc"])
def test_commands_work_for_nobody_on_a_read_only_installation(
    tmp_path, model, settings: str
) -> None:
    signals.write(tmp_path / "in" / "a.wav", signals.tune(seconds=3))
    (tmp_path / "tmp").mkdir()
    for arguments in (
        "prepare --input in --output data --pictures 1",
        f"generate --model {model} --output clips --clips 1 --seconds 1",
        "trace clips/clip-0000.wav",
    ):
        command = SCRIPT.format(root=ROOT, command=f"{NOCTURNE} {arguments}")
        done = subprocess.run(
            ["unshare", "--mount", "bash", "-c", command],
            env={"PATH": "/usr/sbin:/usr/bin:/bin", "SETTINGS": settings},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 99 or "unshare failed" in done.stderr:
            pytest.skip("this machine lets nobody mount folders")
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    assert (tmp_path / "data" / "COMPLETED").exists()
    assert (tmp_path / "clips" / "COMPLETED").exists()
    assert not (tmp_path / "~").exists()
