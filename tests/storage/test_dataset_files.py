import json
import pathlib

import pytest

from audio import contract
from audio.config import AudioConfig
from audio.errors import IncompleteError
from storage.dataset_files import (
    read_front_end,
    read_info,
    read_recordings,
    read_rejected,
    require_dataset,
)


@pytest.fixture
def dataset(tmp_path: pathlib.Path) -> str:
    rows = [
        {"recording_id": "a", "split": "eval"},
        {"recording_id": "b", "split": "train"},
        {"recording_id": "c", "split": "train"},
    ]
    (tmp_path / contract.RECORDINGS).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / contract.DATASET_INFO).write_text('{"sources": 3}')
    return str(tmp_path)


def test_read_recordings_gives_all_rows_or_those_of_a_split(dataset) -> None:
    assert [row["recording_id"] for row in read_recordings(dataset)] == ["a", "b", "c"]
    assert [row["recording_id"] for row in read_recordings(dataset, "train")] == ["b", "c"]
    assert [row["recording_id"] for row in read_recordings(dataset, "eval")] == ["a"]


def test_read_info_gives_the_content_of_dataset_info(dataset) -> None:
    assert read_info(dataset) == {"sources": 3}


def test_read_rejected_gives_rows_and_none_without_a_file(dataset) -> None:
    assert read_rejected(dataset) == []
    path = pathlib.Path(dataset, contract.REJECTED)
    path.parent.mkdir()
    path.write_text('{"uri": "/\\udcff.wav"}\n')
    assert [row["uri"] for row in read_rejected(dataset)] == ["/\udcff.wav"]


def test_require_dataset_wants_the_marker(dataset) -> None:
    with pytest.raises(IncompleteError, match="COMPLETED is missing"):
        require_dataset(dataset)
    pathlib.Path(dataset, contract.COMPLETED).touch()
    require_dataset(dataset)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"audio": 5}', '{"audio": {"n_mels": 0}}', '{"audio": {"x": 1}}']
)
def test_a_damaged_dataset_info_is_not_blamed_on_the_configuration(dataset, content: str) -> None:
    pathlib.Path(dataset, contract.DATASET_INFO).write_text(content)
    with pytest.raises(IncompleteError, match=r"dataset_info\.json is damaged"):
        read_front_end(dataset)


def test_read_front_end_gives_the_front_end_of_dataset_info(dataset) -> None:
    pathlib.Path(dataset, contract.DATASET_INFO).write_text('{"audio": {"n_mels": 32}}')
    assert read_front_end(dataset) == AudioConfig(n_mels=32)
