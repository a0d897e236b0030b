"""One open audio file -> what the dataset keeps of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from audio import contract
from audio.codec import AudioReader, resample_blocks
from audio.config import AudioConfig
from audio.errors import AudioError
from audio.mel import LogMelStream
from audio.quality import Figures, bandwidth_hz, centroid_hz, figures, level_db
from beam_transforms.settings import PrepareSettings

Float16 = npt.NDArray[np.float16]
Float32 = npt.NDArray[np.float32]

# A constant (DC) is no sound, whatever its level; rounding moves it by less than this.
_CONSTANT = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """A stretch of a recording.

    Attributes:
      log_mel: natural log, float16 [at most chunk_frames, n_mels].
      figures: of these frames.
    """

    log_mel: Float16
    figures: Figures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extracted:
    """One recording's frames and identity.

    Attributes:
      recording_id: 64 hex digits, from the decoded PCM.
      sample_rate: of the file, Hz.
      n_channels: of the file.
      figures: of the recording as it was found, by the names of contract.RECORDING_FIGURES; one
        that it does not have is absent.
      chunks: in order; all but the last one are chunk_frames long.
    """

    recording_id: str
    sample_rate: int
    n_channels: int
    figures: dict[str, float]
    chunks: tuple[Chunk, ...]

    @property
    def n_frames(self) -> int:
        """Frames of all chunks."""
        return sum(len(chunk.log_mel) for chunk in self.chunks)


def extract_recording(
    file: BinaryIO, *, audio: AudioConfig, settings: PrepareSettings
) -> Extracted:
    """Decodes, mixes, resamples and transforms one recording, block by block.

    Raises:
      AudioError: it cannot be decoded, or is too short or silent to learn from.
    """
    reader = AudioReader(file, max_seconds=settings.max_seconds_per_file)
    frames = _trimmed(_frames(reader, audio), audio)
    chunks = tuple(_chunk(one, audio) for one in _cut(frames, audio, settings.chunk_frames))
    _refuse_useless(reader, chunks, audio, settings)
    return Extracted(
        recording_id=reader.recording_id(),
        sample_rate=reader.sample_rate,
        n_channels=reader.n_channels,
        figures=_recording_figures(reader, chunks, audio),
        chunks=chunks,
    )


def _refuse_useless(
    reader: AudioReader, chunks: tuple[Chunk, ...], audio: AudioConfig, settings: PrepareSettings
) -> None:
    seconds = reader.n_samples / reader.sample_rate
    if seconds < settings.min_seconds or not reader.n_samples:
        raise AudioError(
            f"too short: {seconds:.3f} s, wanted at least {settings.min_seconds:g} s",
            remedy="Lower prepare.min_seconds, or remove it.",
        )
    if reader.highest - reader.lowest < _CONSTANT:
        raise AudioError("silent: its samples are all the same", remedy="Remove it.")
    loudest = max((chunk.figures.peak_db for chunk in chunks), default=-np.inf)
    loudest -= 20 * math.log10(reader.gain)
    if loudest < settings.min_level_db:
        raise AudioError(
            f"silent: its loudest frame is {loudest:.1f} dB re. full scale, wanted at least "
            f"{settings.min_level_db:g} dB",
            remedy="Raise its level, lower prepare.min_level_db, or remove it.",
        )
    kept = sum(len(chunk.log_mel) for chunk in chunks) / audio.frames_per_second
    if kept < settings.min_seconds:
        raise AudioError(
            f"too short: {kept:.3f} s are left without the silence at its ends, wanted at least "
            f"{settings.min_seconds:g} s",
            remedy="Lower audio.trim_silence_db or prepare.min_seconds, or remove it.",
        )


def _recording_figures(
    reader: AudioReader, chunks: tuple[Chunk, ...], audio: AudioConfig
) -> dict[str, float]:
    total, power = np.zeros(audio.n_mels), np.zeros(audio.n_mels)
    for chunk in chunks:
        log_mel = chunk.log_mel.astype(np.float32)
        total += log_mel.sum(axis=0)
        power += np.exp(log_mel).sum(axis=0)
    n_frames = sum(len(chunk.log_mel) for chunk in chunks)
    found = {
        contract.DURATION_SECONDS: reader.n_samples / reader.sample_rate,
        contract.LUFS: reader.lufs(),
        contract.SAMPLE_PEAK_DB: 20 * math.log10(reader.peak),
        contract.CLIPPED_SHARE: reader.n_clipped / (reader.n_samples * reader.n_channels),
        contract.BANDWIDTH_HZ: bandwidth_hz(total / n_frames, audio),
        contract.CENTROID_HZ: centroid_hz(power, audio),
    }
    return {name: value for name, value in found.items() if value is not None}


def _frames(reader: AudioReader, audio: AudioConfig) -> Iterator[Float32]:
    """Yields a recording's frames as they become ready."""
    stream = LogMelStream(audio)
    for block in resample_blocks(
        reader.mono_blocks(audio.channels, audio.loudness_lufs),
        from_rate=reader.sample_rate,
        to_rate=audio.sample_rate,
    ):
        if len(block):
            yield stream.push(block)
    if reader.n_samples:
        yield stream.finish()


def _trimmed(frames: Iterable[Float32], audio: AudioConfig) -> Iterator[npt.NDArray[np.floating]]:
    """Yields frames without what is silent at both ends; silence between is kept."""
    if audio.trim_silence_db is None:
        yield from frames
        return
    waiting: list[Float16] | None = None  # silent frames, since the first that was not
    for piece in frames:
        loud = np.flatnonzero(level_db(piece, audio) >= audio.trim_silence_db)
        if len(loud):
            yield from waiting or ()
            yield piece[loud[0] if waiting is None else 0 : loud[-1] + 1]
            waiting = [piece[loud[-1] + 1 :].astype(np.float16)]
        elif waiting is not None:
            waiting.append(piece.astype(np.float16))


def _cut(
    frames: Iterable[npt.NDArray[np.floating]], audio: AudioConfig, chunk_frames: int
) -> Iterator[Float16]:
    """Yields chunks of the stored kind, which alone is kept: two hours are 80 MB of it."""
    waiting = np.empty((0, audio.n_mels), np.float16)
    for piece in frames:
        waiting = np.concatenate([waiting, piece.astype(np.float16)])
        while len(waiting) >= chunk_frames:
            yield waiting[:chunk_frames].copy()
            waiting = waiting[chunk_frames:]
    if len(waiting):
        yield waiting


def _chunk(log_mel: Float16, audio: AudioConfig) -> Chunk:
    return Chunk(log_mel=log_mel, figures=figures(log_mel.astype(np.float32), audio))
