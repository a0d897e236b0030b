"""Pictures of a dataset's recordings, drawn from the records that were written."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from audio import contract
from audio.config import AudioConfig
from beam_transforms import storage
from beam_transforms.examples import log_mel_of, read_tfrecord
from pipeline.pictures import spectrogram_png

FOLDER = "pictures"


def draw_recordings(dataset: str, count: int) -> list[str]:
    """Writes DATASET/pictures/SPLIT-ID.png of up to count recordings.

    Which ones follows from their ids alone: as the eval split is small, it is drawn first, but
    never more than half of them.

    Args:
      dataset: a finished dataset.
      count: how many.

    Returns:
      The pictures' paths.
    """
    info = json.loads(storage.read_text(storage.join(dataset, contract.DATASET_INFO)))
    audio = AudioConfig.from_json(json.dumps(info["audio"]))
    text = storage.read_text(storage.join(dataset, contract.RECORDINGS))
    rows = [json.loads(line) for line in text.splitlines()]
    held_out = [row for row in rows if row["split"] == contract.EVAL][: count // 2]
    others = [row for row in rows if row["split"] == contract.TRAIN]
    return [_draw(dataset, row, audio) for row in [*held_out, *others[: count - len(held_out)]]]


def _draw(dataset: str, row: dict[str, Any], audio: AudioConfig) -> str:
    shard = storage.join(dataset, contract.split_folder(row["split"]), row["shard"])
    with storage.open_read(shard) as file:
        file.seek(row["offset"])
        records = read_tfrecord(io.BytesIO(file.read(row["n_bytes"])))
        frames = np.concatenate([log_mel_of(record, audio) for record in records])
    title = row["source_uri"].encode("utf-8", "replace").decode().rsplit("/", 1)[-1]
    path = storage.join(dataset, FOLDER, f"{row['split']}-{row['recording_id'][:12]}.png")
    with storage.write_whole(path) as picture:
        # A dollar sign would start a formula.
        spectrogram_png(picture, frames.astype(np.float32), audio, title=title.replace("$", r"\$"))
    return path
