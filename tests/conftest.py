from __future__ import annotations

import pathlib

import pytest

from tests.support import signals
from tests.support.shared import build_once


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder of six short recordings."""
    return build_once(
        tmp_path_factory,
        "recordings",
        lambda folder: signals.write_tunes(folder, count=6, seconds=8),
    )


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory, recordings: pathlib.Path) -> pathlib.Path:
    """The dataset of these recordings, in short chunks."""

    def build(folder: pathlib.Path) -> None:
        from audio.config import AudioConfig
        from beam_transforms import prepare
        from beam_transforms.settings import PrepareSettings
        from beam_transforms.sources import find_sources

        prepare.run(
            sources=find_sources([str(recordings)]),
            output=str(folder),
            audio=AudioConfig(n_mels=32),
            settings=PrepareSettings(eval_share=0.34, chunk_frames=200),
        )

    return build_once(tmp_path_factory, "dataset", build)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, dataset: pathlib.Path) -> pathlib.Path:
    """A tiny model that was trained on this dataset for a few steps."""

    def build(folder: pathlib.Path) -> None:
        from tests.support.tiny import TINY
        from trainer.fit import train

        train.train(dataset_path=str(dataset), model_path=str(folder), settings=TINY)

    return build_once(tmp_path_factory, "model", build)
