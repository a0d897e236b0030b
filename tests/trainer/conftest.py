from __future__ import annotations

import pathlib

import pytest

from audio import contract
from tests.support.tiny import TINY
from trainer.data.normaliser import Normaliser
from trainer.data.windows import Dataset, open_dataset


@pytest.fixture(scope="session")
def opened(dataset: pathlib.Path) -> Dataset:
    """The small dataset, opened."""
    return open_dataset(str(dataset))


@pytest.fixture(scope="session")
def normaliser(model: pathlib.Path) -> Normaliser:
    """The normaliser of the small model, fitted on the small dataset."""
    return Normaliser.from_graph(str(model / contract.TRANSFORM_GRAPH), floor=TINY.model_floor)
