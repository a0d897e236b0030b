"""Experiments: variants of a configuration on the same music, resumable, in one table."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from audio import contract
from audio.errors import InputError, UsageError
from benchmarks import experiment as experiments
from benchmarks.experiment import Experiment, Rollouts, read_experiment
from benchmarks.experiment_table import Result, table
from pipeline.console.terminal import Console
from tests.support import prepared, signals
from tests.support.tiny import TINY

BASE: dict[str, Any] = {
    "audio": {"n_mels": 32},
    "prepare": {"chunk_frames": 100, "max_rejected_share": 0.9},
    "train": dataclasses.asdict(TINY) | {"window_frames": 32},
}
TWO = Experiment(
    variants={"plain": {}, "small": {"train": {"units": 8}, "model": {"onset_classes": 2}}},
    base=BASE,
    seeds=(0,),
    held_out=0.5,
    rollouts=(Rollouts(clips=4, seconds=0.6),),
)


@pytest.fixture
def console() -> Iterator[Console]:
    with Console() as console:
        yield console


def write(path: pathlib.Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_variant_is_the_defaults_with_what_the_file_says_on_top(tmp_path) -> None:
    text = "base: {train: {units: 16}}\nvariants:\n  a: {}\n  b: {train: {steps: 7}}\n"
    experiment = read_experiment(write(tmp_path / "x.yaml", text))
    assert list(experiment.variants) == ["a", "b"]
    config = experiment.config("b", 3)
    assert (config.train.units, config.train.steps, config.train.seed) == (16, 7, 3)
    assert config.prepare.eval_share == experiment.held_out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: {a: {train: {unitz: 3}}}", "did you mean train.units"),
        ("variants: {a: {train: {units: 0}}}", "train.units"),
        (
            "variants: {a: {model: {units: 3}}}",
            r"unknown key a\.model\.units; known: beat_weight",
        ),
        ("variants: {a: {}}\nseads: [1]", "unknown key seads"),
        ("seeds: [1]", "variants"),
        ("variants: {", "not YAML"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_experiment(write(tmp_path / "x.yaml", text))


def test_a_file_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.yaml: No such file"):
        read_experiment(str(tmp_path / "nothing.yaml"))


@pytest.fixture(scope="module")
def tunes(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return signals.write_tunes(tmp_path_factory.mktemp("tunes"), count=4, seconds=3)


def test_validation_and_test_hold_different_recordings_and_train_on_the_same(
    tmp_path, tunes, console
) -> None:
    paths = experiments.prepare(console, TWO, [str(tunes)], tmp_path)
    splits = {
        name: {
            split: {r["recording_id"] for r in prepared.recordings(path) if r["split"] == split}
            for split in contract.SPLITS
        }
        for name, path in ((name, pathlib.Path(path)) for name, path in paths.items())
    }
    validation, test = splits[experiments.VALIDATION], splits[experiments.TEST]
    assert validation["train"] == test["train"]
    held_out = [validation["eval"], test["eval"], test["train"]]
    assert [len(each) for each in held_out] == [1, 1, 2]
    assert len(set.union(*held_out)) == 4


def test_two_recordings_must_be_held_out(tmp_path, tunes, console) -> None:
    with pytest.raises(InputError, match="raise held_out"):
        experiments.prepare(
            console, dataclasses.replace(TWO, held_out=0.25), [str(tunes)], tmp_path
        )


def test_a_folder_that_was_prepared_otherwise_is_refused(tmp_path, tunes, console) -> None:
    experiments.prepare(console, TWO, [str(tunes)], tmp_path)
    other = BASE | {"prepare": BASE["prepare"] | {"eval_fold": 1}}
    with pytest.raises(UsageError, match=r"another prepare\.eval_fold"):
        experiments.prepare(console, dataclasses.replace(TWO, base=other), [str(tunes)], tmp_path)


@pytest.mark.slow
def test_what_is_finished_is_not_done_again(tmp_path, tunes, console, monkeypatch) -> None:
    def run() -> list[Result]:
        return experiments.run(console, TWO, inputs=[str(tunes)], folder=str(tmp_path))

    first = run()
    assert [(each.variant, each.seed) for each in first] == [("plain", 0), ("small", 0)]
    assert all(each.figures[0]["movement"] > 0 for each in first)
    page = (tmp_path / "validation.md").read_text()
    assert page == "\n".join(table(first)) + "\n"
    assert "| plain | 1 |" in page
    assert "| small | 1 |" in page
    monkeypatch.setattr("trainer.fit.train.train", None)
    monkeypatch.setattr("pipeline.evaluation.rollouts.make_rollouts", None)
    assert json.dumps([each.figures for each in run()]) == json.dumps(
        [each.figures for each in first]
    )


def test_the_table_has_means_over_seeds_and_their_range() -> None:
    results = [
        Result(
            variant=variant,
            seed=seed,
            steps=1,
            seconds=1.0,
            figures=({"rollouts": 4, "seconds": 1.0, "lowest_score": value},),
        )
        for variant, seed, value in (("a", 0, 0.5), ("b", 0, 1.0), ("a", 1, 1.0), ("b", 1, 1.0))
    ]
    assert table(results) == [
        "4 rollouts of 1 s.",
        "",
        "| | seeds | lowest score |",
        "|---|---|---|",
        "| a | 2 | 0.75 (0.50 to 1.00) |",
        "| b | 2 | 1.00 |",
    ]
