import pathlib

import pytest

from tests.support import signals
from tests.support.prepared import run


@pytest.fixture
def music(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder of four tunes, which the test may change."""
    return signals.write_tunes(tmp_path / "music", count=4, seconds=3)


@pytest.fixture(scope="session")
def tunes(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder of the same four tunes, which tests share and do not change."""
    return signals.write_tunes(tmp_path_factory.mktemp("tunes"), count=4, seconds=3)


@pytest.fixture(scope="session")
def tunes_dataset(tunes: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The dataset of these tunes."""
    output = tmp_path_factory.mktemp("tunes") / "dataset"
    run(tunes, output)
    return output
