"""The data card agrees with StatisticsGen's own library, and shows drift between versions."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import numpy as np
import pytest

from audio import contract
from beam_transforms.card import data_card, format_card
from storage import files
from tests.support import signals
from tests.support.prepared import recordings, run


def read_card(dataset: pathlib.Path) -> dict[str, Any]:
    card: dict[str, Any] = files.read_json(str(dataset / contract.DATA_CARD))
    return card


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> pathlib.Path:
    folder: pathlib.Path = tmp_path_factory.mktemp("music")
    for index in range(8):
        samples = signals.tune(seconds=4 + index, seed=index) * np.float32(0.2 + 0.1 * index)
        signals.write(folder / f"{index}.wav", samples, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def first(music, tmp_path_factory) -> pathlib.Path:
    """The first version of the dataset."""
    output: pathlib.Path = tmp_path_factory.mktemp("first") / "dataset"
    run(music, output)
    return output


@pytest.mark.slow
def test_data_card_has_the_figures_of_statistics_gen(first) -> None:
    import tensorflow_data_validation as tfdv

    for split in contract.SPLITS:
        pattern = str(first / contract.split_folder(split) / "*")
        features = tfdv.generate_statistics_from_tfrecord(pattern).datasets[0].features
        expected = {feature.path.step[0]: feature.num_stats for feature in features}
        figures = read_card(first)["splits"][split]["figures"]
        assert set(figures) == set(contract.FIGURES)
        for name, figure in figures.items():
            statistics = expected[name]
            assert figure["records"] == statistics.common_stats.num_non_missing
            assert figure["mean"] == pytest.approx(statistics.mean, rel=1e-5, abs=1e-9), name
            assert figure["std"] == pytest.approx(statistics.std_dev, rel=1e-3, abs=1e-3), name
            assert figure["min"] == pytest.approx(statistics.min, rel=1e-6), name
            assert figure["max"] == pytest.approx(statistics.max, rel=1e-6), name


def test_data_card_has_percentiles_over_recordings(first) -> None:
    rows = [row for row in recordings(first) if row["split"] == "train"]
    expected = np.percentile([row["duration_seconds"] for row in rows], [5, 50, 95])
    figure = read_card(first)["splits"]["train"]["figures"]["duration_seconds"]
    assert [figure["p5"], figure["p50"], figure["p95"]] == pytest.approx(list(expected))


def test_equal_versions_have_no_drift(music, first, tmp_path) -> None:
    assert read_card(first)["drift"] is None
    run(music, tmp_path / "second", previous=first)
    drift = read_card(tmp_path / "second")["drift"]
    assert drift["recordings_added"] == drift["recordings_removed"] == 0
    assert all(cell["distance"] == 0 for cell in drift["figures"].values())
    assert not any(cell["shifted"] for cell in drift["figures"].values())


def test_different_music_is_drift(music, first, tmp_path) -> None:
    shutil.copytree(music, tmp_path / "music")
    (tmp_path / "music" / "0.wav").unlink()
    for index in range(24):
        hiss = signals.noise(seconds=5, seed=index, level=0.01)
        signals.write(tmp_path / "music" / f"hiss{index}.wav", hiss, subtype="FLOAT")
    run(tmp_path / "music", tmp_path / "second", previous=first)
    card = read_card(tmp_path / "second")
    drift = card["drift"]
    assert (drift["recordings_added"], drift["recordings_removed"]) == (24, 1)
    assert drift["figures"]["lufs"]["shifted"]
    assert drift["figures"]["lufs"]["now"] < drift["figures"]["lufs"]["before"]
    assert not drift["figures"]["clipped_share"]["shifted"]
    assert any("shifted: " in line and "lufs" in line for line in format_card(card))


def test_data_card_of_an_empty_split_has_no_figures() -> None:
    card = data_card([])
    assert card["splits"]["eval"]["figures"]["lufs"] is None
    assert format_card(card)
