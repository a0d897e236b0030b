"""--dry-run and --json: what would be done, said to a person or to a machine."""

from __future__ import annotations

import json
import pathlib

import pytest

from audio import contract
from generator.requests import derive_seed
from tests.support import signals
from tests.support.command import nocturne


def test_a_preparation_lists_its_files_and_writes_nothing(tmp_path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    signals.write(music / "one.wav", signals.sine(440.0, seconds=2.0))
    (music / "two.ogg").write_bytes(b"OggS, and no more")
    done = nocturne(
        "prepare", "--input", music, "--output", "data", "--dry-run", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    size = sum(path.stat().st_size for path in music.iterdir())
    assert json.loads(done.stdout) == {
        "files": 2,
        "bytes": size,
        "kinds": {".ogg": 1, ".wav": 1},
        "output": "data",
        "output_finished": False,
    }
    assert "would read 2 files" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_a_generation_lists_the_clips_that_it_then_makes(tmp_path, model: pathlib.Path) -> None:
    flags = (
        "--model", model, "--output", "clips", "--clips", 2, "--seconds", 1, "--seed", 5, "--json",
    )  # fmt: skip
    done = nocturne("generate", *flags, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    assert [clip["seed"] for clip in planned["clips"]] == [derive_seed(5, 0), derive_seed(5, 1)]
    assert not planned["output_finished"]
    assert not (tmp_path / "clips").exists()
    done = nocturne("generate", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    assert manifest == json.loads((tmp_path / "clips" / contract.MANIFEST).read_text())
    for clip, made in zip(planned["clips"], manifest["clips"], strict=True):
        assert made["file"].startswith(clip["name"])
        assert made["attempts"][0]["seed"] == clip["seed"]
    done = nocturne("generate", *flags, "--dry-run", cwd=tmp_path)
    assert json.loads(done.stdout)["output_finished"]
    assert "would be refused, because it holds a finished run" in done.stderr
