"""One open audio file -> what the dataset keeps of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from audio.codec import AudioReader, resample_blocks
from audio.config import AudioConfig
from audio.errors import AudioError
from audio.mel import LogMelStream
from audio.quality import level_db
from beam_transforms.settings import PrepareSettings

# A constant (DC) is no sound, whatever its level; rounding moves it by less than this.
_CONSTANT = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extracted:
    """One recording's frames and identity.

    Attributes:
      recording_id: 64 hex digits, from the decoded PCM.
      sample_rate: of the file, Hz.
      n_channels: of the file.
      duration_seconds: of the recording.
      chunks: natural-log mel, float16 [chunk_frames, n_mels] each, the last one shorter.
    """

    recording_id: str
    sample_rate: int
    n_channels: int
    duration_seconds: float
    chunks: tuple[npt.NDArray[np.float16], ...]

    @property
    def n_frames(self) -> int:
        """Frames of all chunks."""
        return sum(len(chunk) for chunk in self.chunks)


def extract_recording(
    file: BinaryIO, *, audio: AudioConfig, settings: PrepareSettings
) -> Extracted:
    """Decodes, mixes, resamples and transforms one recording, block by block.

    Raises:
      AudioError: it cannot be decoded, or is too short or silent to learn from.
    """
    reader = AudioReader(file)
    chunks, loudest = _chunks(_frames(reader, audio, settings), audio, settings.chunk_frames)
    duration_seconds = reader.n_samples / reader.sample_rate
    if duration_seconds < settings.min_seconds or not chunks:
        raise AudioError(
            f"too short: {duration_seconds:.3f} s, wanted at least {settings.min_seconds:g} s",
            remedy="Lower prepare.min_seconds, or remove it.",
        )
    if reader.highest - reader.lowest < _CONSTANT:
        raise AudioError("silent: its samples are all the same", remedy="Remove it.")
    if loudest < settings.min_level_db:
        raise AudioError(
            f"silent: its loudest frame is {loudest:.1f} dB re. full scale, wanted at least "
            f"{settings.min_level_db:g} dB",
            remedy="Raise its level, lower prepare.min_level_db, or remove it.",
        )
    return Extracted(
        recording_id=reader.recording_id(),
        sample_rate=reader.sample_rate,
        n_channels=reader.n_channels,
        duration_seconds=duration_seconds,
        chunks=chunks,
    )


def _frames(
    reader: AudioReader, audio: AudioConfig, settings: PrepareSettings
) -> Iterator[npt.NDArray[np.float32]]:
    """Yields a recording's frames as they become ready."""
    deadline = time.monotonic() + settings.max_seconds_per_file
    stream = LogMelStream(audio)
    for block in resample_blocks(
        reader.mono_blocks(audio.channels),
        from_rate=reader.sample_rate,
        to_rate=audio.sample_rate,
    ):
        if time.monotonic() > deadline:
            raise AudioError(
                f"too slow: not done after {settings.max_seconds_per_file:g} s",
                remedy="Cut it into pieces, or raise prepare.max_seconds_per_file.",
            )
        if len(block):
            yield stream.push(block)
    if reader.n_samples:
        yield stream.finish()


def _chunks(
    frames: Iterable[npt.NDArray[np.float32]], audio: AudioConfig, chunk_frames: int
) -> tuple[tuple[npt.NDArray[np.float16], ...], float]:
    """Gathers frames into chunks of the stored kind; returns them and the loudest frame's level.

    Only the stored kind is kept: a recording of two hours is 80 MB of it.
    """
    chunks, waiting, loudest = [], np.empty((0, audio.n_mels), np.float16), -np.inf
    for piece in frames:
        if not len(piece):
            continue
        loudest = max(loudest, float(level_db(piece, audio).max()))
        waiting = np.concatenate([waiting, piece.astype(np.float16)])
        while len(waiting) >= chunk_frames:
            chunks.append(waiting[:chunk_frames].copy())
            waiting = waiting[chunk_frames:]
    if len(waiting):
        chunks.append(waiting)
    return tuple(chunks), loudest
