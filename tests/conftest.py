from __future__ import annotations

import pathlib

import pytest

from tests.support import signals


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Six short recordings in one folder."""
    return signals.write_tunes(tmp_path_factory.mktemp("recordings"), count=6, seconds=8)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory, recordings: pathlib.Path) -> pathlib.Path:
    """The recordings as a prepared dataset of small records."""
    from audio.config import AudioConfig
    from beam_transforms import prepare
    from beam_transforms.settings import PrepareSettings
    from beam_transforms.sources import find_sources

    output = tmp_path_factory.mktemp("prepared") / "dataset"
    prepare.run(
        sources=find_sources([str(recordings)]),
        output=str(output),
        audio=AudioConfig(n_mels=32),
        settings=PrepareSettings(eval_share=0.34, chunk_frames=200),
    )
    return output


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, dataset: pathlib.Path) -> pathlib.Path:
    """A tiny model trained on the dataset for a few steps."""
    from tests.support.tiny import TINY
    from trainer.fit import train

    path = tmp_path_factory.mktemp("trained") / "model"
    train.train(dataset_path=str(dataset), model_path=str(path), settings=TINY)
    return path
