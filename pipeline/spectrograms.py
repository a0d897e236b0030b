"""Spectrograms as files: PNG with axes, WebP for pages."""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from audio import contract, picture
from audio.codec import AudioReader, resample_blocks
from audio.config import AudioConfig
from audio.mel import LogMelStream
from beam_transforms.examples import log_mel_of, read_tfrecord
from storage import files

# More columns than a page shows weigh more and tell no more.
_STRIP_COLUMNS = 960
# Below a dataset, for the pictures of its recordings.
_FOLDER = "pictures"


def spectrogram_png(
    path: pathlib.Path | BinaryIO,
    log_mel: npt.NDArray[np.float32],
    config: AudioConfig,
    *,
    title: str = "",
) -> None:
    """Writes a picture of log-mel frames [n_frames, n_mels]."""
    content = picture.spectrogram_png([log_mel], config, title=title)
    if isinstance(path, pathlib.Path):
        path.write_bytes(content)
    else:
        path.write(content)


def comparison_png(
    path: pathlib.Path,
    clips: Mapping[str, npt.NDArray[np.float32]],
    config: AudioConfig,
    *,
    primer_frames: int,
) -> None:
    """Draws clips, by their titles, one above the other, with a line where their primer ends."""
    figure, rows = picture.new_figure(9.0, 2.4 * len(clips), rows=len(clips))
    for axes, (title, log_mel) in zip(rows, clips.items(), strict=True):
        picture.draw_spectrogram(axes, [log_mel], config, title=title)
        axes.axvline(primer_frames / config.frames_per_second, color="white", linewidth=1)
    rows[-1].set_xlabel("seconds")
    figure.savefig(path, format="png")


def spectrogram_webp(
    pieces: Iterable[npt.NDArray[np.float32]], config: AudioConfig, *, n_frames: int
) -> bytes:
    """Returns a spectrogram without axes, as wide as the sound is long: for a page's player.

    Args:
      pieces: natural log, [n, n_mels] each, one after the other; they are not kept.
      config: their front end.
      n_frames: how many frames there are about, in all.

    Returns:
      A WebP picture, one row a band, the highest on top; of a column's frames the loudest is drawn.
    """
    import matplotlib
    from PIL import Image

    step = max(1, -(-n_frames // _STRIP_COLUMNS))
    columns, pending = [], np.empty((0, config.n_mels), np.float32)
    for piece in pieces:
        pending = np.concatenate([pending, piece])
        whole = len(pending) - len(pending) % step
        columns.append(pending[:whole].reshape(-1, step, config.n_mels).max(axis=1))
        pending = pending[whole:]
    if len(pending):
        columns.append(pending.max(axis=0, keepdims=True))
    decibels = np.concatenate(columns).T[::-1] * np.float32(10 / np.log(10))
    shade = np.clip(1 + (decibels - decibels.max()) / picture.RANGE_DB, 0, 1)
    pixels = matplotlib.colormaps["magma"](shade, bytes=True)[..., :3]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "WEBP", quality=60, method=4)
    return buffer.getvalue()


def recording_webp(file: BinaryIO, config: AudioConfig, *, seconds: float) -> bytes:
    """Returns spectrogram_webp of an audio file, read in blocks.

    Args:
      file: of any kind that audio/decoders.py knows.
      config: the front end.
      seconds: about how long it is.

    Raises:
      AudioError: it cannot be decoded.
    """

    def frames() -> Iterator[npt.NDArray[np.float32]]:
        reader, stream = AudioReader(file), LogMelStream(config)
        rates = {"from_rate": reader.sample_rate, "to_rate": config.sample_rate}
        for block in resample_blocks(reader.mono_blocks(), **rates):
            yield stream.push(block)
        yield stream.finish()

    return spectrogram_webp(frames(), config, n_frames=config.frames_for(seconds))


def png_to_webp(png: bytes) -> bytes:
    """Returns a PNG picture as WebP, which takes a fraction of its bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "WEBP", quality=60, method=4)
    return buffer.getvalue()


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
    info = json.loads(files.read_text(files.join(dataset, contract.DATASET_INFO)))
    audio = AudioConfig.from_json(json.dumps(info["audio"]))
    text = files.read_text(files.join(dataset, contract.RECORDINGS))
    rows = [json.loads(line) for line in text.splitlines()]
    held_out = [row for row in rows if row["split"] == contract.EVAL][: count // 2]
    others = [row for row in rows if row["split"] == contract.TRAIN]
    return [_draw(dataset, row, audio) for row in [*held_out, *others[: count - len(held_out)]]]


def _draw(dataset: str, row: dict[str, Any], audio: AudioConfig) -> str:
    shard = files.join(dataset, contract.split_folder(row["split"]), row["shard"])
    with files.open_read(shard) as file:
        file.seek(row["offset"])
        records = read_tfrecord(io.BytesIO(file.read(row["n_bytes"])))
        frames = np.concatenate([log_mel_of(record, audio) for record in records])
    title = row["source_uri"].encode("utf-8", "replace").decode().rsplit("/", 1)[-1]
    path = files.join(dataset, _FOLDER, f"{row['split']}-{row['recording_id'][:12]}.png")
    with files.write_whole(path) as file:
        # A dollar sign would start a formula.
        spectrogram_png(file, frames.astype(np.float32), audio, title=title.replace("$", r"\$"))
    return path
