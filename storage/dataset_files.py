"""The JSON files of a prepared dataset; audio/contract.py lists all of its files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NotRequired, TypedDict

from audio import contract
from audio.config import AudioConfig
from audio.errors import IncompleteError, UsageError
from storage import files


class RecordingRow(TypedDict):
    """What recordings.jsonl says of one recording. Figures that it does not have are None.

    The figures are those of contract.RECORDING_FIGURES, in the units given there. `key` names the
    result of preparing the source, `shard` is a file of the split's folder, and `offset` and
    `n_bytes` are where the recording's n_records records are in it. `stretches` has for each other
    figure the sum, the sum of squares, the least and the largest value over these records.
    `lost_seconds` is about how much sound the source lacks because it is damaged; None if it is
    unknown how much. Datasets of earlier versions do not have it.
    """

    recording_id: str
    source_uri: str
    source_bytes: int
    key: str
    split: str
    shard: str
    offset: int
    n_bytes: int
    n_records: int
    n_frames: int
    sample_rate: int
    n_channels: int
    duration_seconds: float
    lufs: float | None
    sample_peak_db: float | None
    clipped_share: float | None
    bandwidth_hz: float | None
    centroid_hz: float | None
    stretches: NotRequired[dict[str, list[float]]]
    lost_seconds: NotRequired[float | None]


class RejectedRow(TypedDict):
    """What rejected.jsonl says of one file: where preparing it failed, why, and what to do."""

    uri: str
    stage: str
    error: str
    message: str
    bytes: int
    sha256: str | None
    remedy: str


def require_dataset(dataset: str) -> None:
    """Checks that a folder is a finished dataset.

    Raises:
      IncompleteError: It has no COMPLETED marker.
    """
    if not files.exists(files.join(dataset, contract.COMPLETED)):
        raise IncompleteError(
            f"{dataset} is not a finished dataset: {contract.COMPLETED} is missing. To finish it, "
            "run `nocturne prepare` again with the same --input and --output."
        )


def read_info(dataset: str) -> dict[str, Any]:
    """Returns the content of a dataset's dataset_info.json."""
    info: dict[str, Any] = files.read_json(files.join(dataset, contract.DATASET_INFO))
    return info


def read_front_end(dataset: str) -> AudioConfig:
    """Returns the front end that a dataset's dataset_info.json names.

    Raises:
      IncompleteError: The file is damaged. The configuration of this run is not to blame.
    """
    try:
        return AudioConfig(**read_info(dataset)["audio"])
    except (ValueError, TypeError, LookupError, RecursionError, UsageError) as error:
        raise IncompleteError(
            f"{dataset}: {contract.DATASET_INFO} is damaged ({type(error).__name__}: {error}). "
            "Copy the dataset again from an intact one, or prepare it again."
        ) from error


def read_recordings(dataset: str, split: str | None = None) -> Iterator[RecordingRow]:
    """Yields the rows of a dataset's recordings.jsonl, one at a time.

    Args:
      dataset: Path of the dataset.
      split: Name of the split whose recordings are wanted; None for all.
    """
    for row in _read_rows(files.join(dataset, contract.RECORDINGS)):
        if split is None or row["split"] == split:
            yield row


def read_rejected(dataset: str) -> list[RejectedRow]:
    """Returns the rows of a dataset's rejected.jsonl; none where there is no such file."""
    path = files.join(dataset, contract.REJECTED)
    return list(_read_rows(path)) if files.exists(path) else []


def _read_rows(path: str) -> Iterator[Any]:
    with files.open_read(path) as file:
        for line in file:
            yield json.loads(line)
