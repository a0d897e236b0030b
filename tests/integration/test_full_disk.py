"""A full disk ends every command with exit code 11 and its place; with more room it continues."""

from __future__ import annotations

import pathlib

import pytest

from audio import contract
from audio.errors import UnwritableError
from pipeline.evaluation.verdict import REPORT
from tests.support import pipelines
from tests.support.command import nocturne
from tests.support.system import resize_disk, small_disk

pytestmark = pytest.mark.slow

TRAIN = (
    "train --dataset {dataset} --model out --set train.head=mse --set train.units=12 "
    "--set train.window_frames=64 --set train.batch_windows=4 --set train.steps=6 "
    "--set train.eval_every=3 --set train.primer_frames=16"
)
GENERATE = "generate --model {model} --output out --clips 2 --seconds 2"
EVALUATE = (
    "evaluate --model {model} --dataset {dataset} --output out --set evaluate.rollouts=2 "
    "--set evaluate.rollout_seconds=1 --accept-unjudged"
)


@pytest.mark.parametrize(
    ("command", "kilobytes", "marker"),
    [
        (TRAIN, 40, "saved_model.pb"),  # at the first checkpoint
        (TRAIN, 700, "saved_model.pb"),  # at the export
        (GENERATE, 4, contract.COMPLETED),
        (GENERATE, 40, contract.COMPLETED),
        (EVALUATE, 8, REPORT),
    ],
)
def test_a_command_continues_once_there_is_room(
    tmp_path: pathlib.Path,
    dataset: pathlib.Path,
    model: pathlib.Path,
    command: str,
    kilobytes: int,
    marker: str,
) -> None:
    words = command.format(dataset=dataset, model=model).split()
    home = str(tmp_path / "home")  # logs are on another disk
    with small_disk(tmp_path / "disk", kilobytes=kilobytes) as disk:
        done = nocturne(*words, cwd=disk, HOME=home)
        assert done.returncode == UnwritableError.exit_code, done.stderr
        assert done.stderr.count("\n") == 1
        assert "out" in done.stderr
        assert "No space left on device" in done.stderr
        assert not (disk / "out" / marker).exists()
        resize_disk(disk, kilobytes=40_000)
        done = nocturne(*words, cwd=disk, HOME=home)
        assert done.returncode == 0, done.stderr
        assert [path.name for path in disk.iterdir()] == ["out"]
        assert (disk / "out" / marker).exists()


@pytest.mark.parametrize("kilobytes", [60, 1500])
def test_a_pipeline_continues_once_there_is_room(tmp_path: pathlib.Path, kilobytes: int) -> None:
    pipelines.write_music(tmp_path / "music")
    (tmp_path / "home").mkdir()
    with small_disk(tmp_path / "disk", kilobytes=kilobytes) as disk:
        command = (
            "run", "training", "--input", tmp_path / "music", "--root", disk / "root",
            "--run-id", "first", *pipelines.flags(*pipelines.TINY),
        )  # fmt: skip
        full = pipelines.start(*command, cwd=tmp_path, HOME=str(tmp_path / "home"))
        said = pipelines.finish(full, UnwritableError.exit_code)
        assert f"{disk}/root" in said
        assert "No space left on device" in said or "disk is full" in said
        resize_disk(disk, kilobytes=60_000)
        again = pipelines.start(*command, cwd=tmp_path, HOME=str(tmp_path / "home"))
        assert "Pusher" in pipelines.finish(again)
        assert list((disk / "root" / "pushed").iterdir())
