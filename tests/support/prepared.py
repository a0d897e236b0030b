"""A small dataset made by the real job, and ways to look at one."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
import tensorflow as tf

from audio import contract
from audio.config import AudioConfig
from beam_transforms import prepare, staging
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_sources
from tests.support import signals

AUDIO = AudioConfig(n_mels=32)
SETTINGS = PrepareSettings(chunk_frames=100, eval_share=0.25, max_rejected_share=0.9)


def run(
    inputs: pathlib.Path,
    output: pathlib.Path,
    settings: PrepareSettings = SETTINGS,
    previous: pathlib.Path | None = None,
) -> dict[str, Any]:
    return prepare.run(
        sources=find_sources([str(inputs)]),
        output=str(output),
        audio=AUDIO,
        settings=settings,
        effective_config="audio: {}\n",
        previous=str(previous) if previous else None,
    )


def records(dataset: pathlib.Path) -> dict[str, list[dict[str, Any]]]:
    """All features of all records, in order, by file."""
    found = {}
    for path in sorted(dataset.glob("Split-*/*")):
        rows = []
        for record in tf.data.TFRecordDataset(str(path)):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            rows.append({name: feature.SerializeToString() for name, feature in features.items()})
        found[str(path.relative_to(dataset))] = rows
    return found


def rejected(dataset: pathlib.Path) -> dict[str, dict[str, Any]]:
    lines = (dataset / contract.REJECTED).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return {pathlib.Path(row["uri"]).name: row for row in rows}


def recordings(dataset: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (dataset / contract.RECORDINGS).read_text().splitlines()]


def all_records(dataset: pathlib.Path) -> set[tuple[tuple[str, bytes], ...]]:
    return {tuple(sorted(row.items())) for rows in records(dataset).values() for row in rows}


def tree(folder: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns a list that the names of files go into as they are decoded."""
    decoded: list[str] = []
    extract = staging.extract_recording

    def counted(file: Any, **kwargs: Any) -> Any:
        decoded.append(file.name)
        return extract(file, **kwargs)

    monkeypatch.setattr(staging, "extract_recording", counted)
    return decoded


def four_tunes(folder: pathlib.Path) -> pathlib.Path:
    """Writes four recordings of 3 to 6 seconds."""
    for index in range(4):
        samples = signals.tune(seconds=3 + index, seed=index)
        signals.write(folder / f"{index}.wav", samples, subtype="FLOAT")
    return folder
