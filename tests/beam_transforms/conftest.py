import pathlib

import pytest

from tests.support.prepared import four_tunes


@pytest.fixture
def music(tmp_path: pathlib.Path) -> pathlib.Path:
    return four_tunes(tmp_path / "music")
