"""Spectrograms as files: PNG with axes, WebP for pages."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from audio import contract, picture
from audio.codec import AudioReader, resample_blocks
from audio.config import AudioConfig
from audio.mel import LogMelStream
from beam_transforms.examples import read_log_mel
from storage import files
from storage.dataset_files import RecordingRow, read_front_end, read_recordings

# Largest width of a picture, pixels. A page shows no more.
_MAX_COLUMNS = 960
# Folder of a dataset for the pictures of its recordings.
_FOLDER = "pictures"


def spectrogram_webp(
    pieces: Iterable[npt.NDArray[np.float32]], config: AudioConfig, *, n_frames: int
) -> bytes:
    """Returns a spectrogram without axes, for a page's player, as a WebP picture.

    The picture has a row for each band, the highest on top. If there are more frames than columns,
    a column shows the loudest of its frames.

    Args:
      pieces: Consecutive pieces of log-mel, [n, n_mels] each; they are read one at a time.
      config: Front end.
      n_frames: Approximate number of all frames.
    """
    import matplotlib
    from PIL import Image

    step = max(1, -(-n_frames // _MAX_COLUMNS))
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
    return _webp(Image.fromarray(np.ascontiguousarray(pixels)))


def recording_webp(file: BinaryIO, config: AudioConfig, *, seconds: float) -> bytes:
    """Returns the spectrogram of an audio file as spectrogram_webp draws it.

    The file is read block by block.

    Args:
      file: Audio in any format that audio/decoders.py reads.
      config: Front end.
      seconds: Approximate length of the audio.

    Raises:
      AudioError: The file cannot be decoded.
    """

    def frames() -> Iterator[npt.NDArray[np.float32]]:
        reader, stream = AudioReader(file), LogMelStream(config)
        for block in resample_blocks(
            reader.mono_blocks(), from_rate=reader.sample_rate, to_rate=config.sample_rate
        ):
            yield stream.push(block)
        yield stream.finish()

    return spectrogram_webp(frames(), config, n_frames=config.frames_for(seconds))


def png_to_webp(png: bytes) -> bytes:
    """Returns a PNG picture as WebP, which is several times smaller."""
    from PIL import Image

    return _webp(Image.open(io.BytesIO(png)).convert("RGB"))


def _webp(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=60, method=4)
    return buffer.getvalue()


def draw_recordings(dataset: str, count: int) -> list[str]:
    """Draws the log-mel of up to `count` recordings into DATASET/pictures/SPLIT-ID.png.

    Equal datasets give equal choices: the first recordings of the eval split, up to half of the
    count, then the first of the train split.

    Args:
      dataset: Folder of a finished dataset.
      count: Largest number of pictures.

    Returns:
      The paths of the pictures.
    """
    audio = read_front_end(dataset)
    rows = list(read_recordings(dataset))
    held_out = [row for row in rows if row["split"] == contract.EVAL][: count // 2]
    training = [row for row in rows if row["split"] == contract.TRAIN][: count - len(held_out)]
    return [_draw_recording(dataset, row, audio) for row in [*held_out, *training]]


def _draw_recording(dataset: str, row: RecordingRow, audio: AudioConfig) -> str:
    frames = read_log_mel(dataset, row, audio)
    name = row["source_uri"].encode("utf-8", "replace").decode().rsplit("/", 1)[-1]
    title = name.replace("$", r"\$")  # matplotlib would take what follows a dollar for a formula
    path = files.join(dataset, _FOLDER, f"{row['split']}-{row['recording_id'][:12]}.png")
    with files.atomic_file(path) as file:
        file.write(picture.spectrogram_png([frames.astype(np.float32)], audio, title=title))
    return path
