"""The data card against StatisticsGen's own library, and drift between versions."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from audio import contract
from beam_transforms.card import data_card, format_card
from tests.support import signals
from tests.support.prepared import recordings, run


def card(dataset: pathlib.Path) -> dict:
    return json.loads((dataset / contract.DATA_CARD).read_text())


@pytest.fixture
def music(tmp_path) -> pathlib.Path:
    for index in range(8):
        samples = signals.tune(seconds=4 + index, seed=index) * np.float32(0.2 + 0.1 * index)
        signals.write(tmp_path / "music" / f"{index}.wav", samples, subtype="FLOAT")
    return tmp_path / "music"


@pytest.mark.slow
def test_figures_are_those_that_statistics_gen_sees(music, tmp_path) -> None:
    import tensorflow_data_validation as tfdv

    run(music, tmp_path / "out")
    for split in contract.SPLITS:
        pattern = str(tmp_path / "out" / contract.split_folder(split) / "*")
        statistics = tfdv.generate_statistics_from_tfrecord(pattern)
        seen = {one.path.step[0]: one.num_stats for one in statistics.datasets[0].features}
        figures = card(tmp_path / "out")["splits"][split]["figures"]
        assert set(figures) == set(contract.FIGURES)
        for name, ours in figures.items():
            theirs = seen[name]
            assert ours["records"] == theirs.common_stats.num_non_missing
            assert ours["mean"] == pytest.approx(theirs.mean, rel=1e-5, abs=1e-9), name
            assert ours["std"] == pytest.approx(theirs.std_dev, rel=1e-3, abs=1e-3), name
            assert ours["min"] == pytest.approx(theirs.min, rel=1e-6), name
            assert ours["max"] == pytest.approx(theirs.max, rel=1e-6), name


def test_percentiles_are_over_recordings(music, tmp_path) -> None:
    run(music, tmp_path / "out")
    rows = [row for row in recordings(tmp_path / "out") if row["split"] == "train"]
    expected = np.percentile([row["duration_seconds"] for row in rows], [5, 50, 95])
    found = card(tmp_path / "out")["splits"]["train"]["figures"]["duration_seconds"]
    assert [found["p5"], found["p50"], found["p95"]] == pytest.approx(list(expected))


def test_a_first_version_has_no_drift_and_the_same_again_has_none_to_show(music, tmp_path) -> None:
    run(music, tmp_path / "v1")
    assert card(tmp_path / "v1")["drift"] is None
    run(music, tmp_path / "v2", previous=tmp_path / "v1")
    found = card(tmp_path / "v2")["drift"]
    assert found["recordings_added"] == found["recordings_removed"] == 0
    assert all(one["distance"] == 0 and not one["shifted"] for one in found["figures"].values())


def test_other_music_shows_as_drift(music, tmp_path) -> None:
    run(music, tmp_path / "v1")
    (music / "0.wav").unlink()
    for index in range(24):
        hiss = signals.noise(seconds=5, seed=index, level=0.01)
        signals.write(music / f"hiss{index}.wav", hiss, subtype="FLOAT")
    run(music, tmp_path / "v2", previous=tmp_path / "v1")
    found = card(tmp_path / "v2")["drift"]
    assert (found["recordings_added"], found["recordings_removed"]) == (24, 1)
    assert found["figures"]["lufs"]["shifted"]
    assert found["figures"]["lufs"]["now"] < found["figures"]["lufs"]["before"]
    assert not found["figures"]["clipped_share"]["shifted"]
    assert any(
        "shifted: " in line and "lufs" in line for line in format_card(card(tmp_path / "v2"))
    )


def test_an_empty_split_has_no_figures() -> None:
    found = data_card([])
    assert found["splits"]["eval"]["figures"]["lufs"] is None
    assert format_card(found)
