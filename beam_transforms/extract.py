"""From an open audio file to the frames and figures that the dataset stores of it."""

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
from audio.quality import FrameFigures, bandwidth_hz, centroid_hz, level_db, measure_frames
from beam_transforms.settings import PrepareSettings

Float16 = npt.NDArray[np.float16]
Float32 = npt.NDArray[np.float32]

# Recordings whose loudest frame is below this level, dB re. full scale, are rejected as silent.
_MIN_LEVEL_DB = -60.0
# Samples that differ by less than this are a constant with rounding errors, and so no sound.
_MIN_RANGE = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """Consecutive frames of a recording, which become one record.

    Attributes:
      log_mel: Natural-log mel, float16 [n_frames, n_mels], at most chunk_frames of them.
      figures: Figures of these frames.
    """

    log_mel: Float16
    figures: FrameFigures


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractedRecording:
    """Frames and figures of one recording.

    Attributes:
      recording_id: Hash of the decoded PCM, 64 hex digits.
      sample_rate: Sample rate of the file, Hz.
      n_channels: Number of channels of the file.
      figures: Figures of the file before any processing, by the names in
        contract.RECORDING_FIGURES. A figure that is not defined, such as the loudness of silence,
        is absent.
      chunks: Chunks in order; all but the last have chunk_frames frames.
      lost_seconds: About how much sound the file lacks, because it is damaged or truncated;
        infinity if it is unknown how much.
    """

    recording_id: str
    sample_rate: int
    n_channels: int
    figures: dict[str, float]
    chunks: tuple[Chunk, ...]
    lost_seconds: float = 0.0

    @property
    def n_frames(self) -> int:
        """Number of frames of all chunks."""
        return sum(len(chunk.log_mel) for chunk in self.chunks)


def extract_recording(
    file: BinaryIO, *, audio: AudioConfig, settings: PrepareSettings
) -> ExtractedRecording:
    """Decodes a recording to mono log-mel frames, block by block.

    Raises:
      AudioError: It cannot be decoded, or is too short or too quiet for training.
    """
    reader = AudioReader(
        file,
        max_seconds=settings.max_seconds_per_file,
        max_lost_share=settings.max_lost_share,
    )
    frames = _trim_silence(_frame_blocks(reader, audio), audio)
    chunks = tuple(
        Chunk(log_mel=log_mel, figures=measure_frames(log_mel.astype(np.float32), audio))
        for log_mel in _cut_chunks(frames, audio, settings.chunk_frames)
    )
    _check_usable(reader, chunks, audio, settings)
    return ExtractedRecording(
        recording_id=reader.recording_id(),
        sample_rate=reader.sample_rate,
        n_channels=reader.n_channels,
        figures=_recording_figures(reader, chunks, audio),
        lost_seconds=reader.lost_seconds,
        chunks=chunks,
    )


def _check_usable(
    reader: AudioReader, chunks: tuple[Chunk, ...], audio: AudioConfig, settings: PrepareSettings
) -> None:
    seconds = reader.n_samples / reader.sample_rate
    if seconds < settings.min_seconds or not reader.n_samples:
        raise AudioError(
            f"too short: {seconds:.3f} s, wanted at least {settings.min_seconds:g} s",
            remedy="Remove it, or lower prepare.min_seconds.",
        )
    if reader.highest - reader.lowest < _MIN_RANGE:
        raise AudioError("silent: all its samples are equal", remedy="Remove it.")
    loudest = max((chunk.figures.peak_db for chunk in chunks), default=-np.inf)
    loudest -= 20 * math.log10(reader.gain)
    if loudest < _MIN_LEVEL_DB:
        raise AudioError(
            f"silent: its loudest frame is {loudest:.1f} dB re. full scale, wanted at least "
            f"{_MIN_LEVEL_DB:g} dB",
            remedy="Remove it, or raise its level.",
        )
    kept = sum(len(chunk.log_mel) for chunk in chunks) / audio.frames_per_second
    if kept < settings.min_seconds:
        raise AudioError(
            f"too short: {kept:.3f} s are left without the silence at its ends, wanted at least "
            f"{settings.min_seconds:g} s",
            remedy="Remove it, or lower audio.trim_silence_db or prepare.min_seconds.",
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
    values = {
        contract.DURATION_SECONDS: reader.n_samples / reader.sample_rate,
        contract.LUFS: reader.lufs(),
        contract.SAMPLE_PEAK_DB: 20 * math.log10(reader.peak),
        contract.CLIPPED_SHARE: reader.n_clipped / (reader.n_samples * reader.n_channels),
        contract.BANDWIDTH_HZ: bandwidth_hz(total / n_frames, audio),
        contract.CENTROID_HZ: centroid_hz(power, audio),
    }
    return {name: value for name, value in values.items() if value is not None}


def _frame_blocks(reader: AudioReader, audio: AudioConfig) -> Iterator[Float32]:
    """Yields a recording's frames in blocks, while it is decoded."""
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


def _trim_silence(
    blocks: Iterable[Float32], audio: AudioConfig
) -> Iterator[npt.NDArray[np.floating]]:
    """Yields the frames without the silence at both ends; silence in between is kept."""
    if audio.trim_silence_db is None:
        yield from blocks
        return
    # Frames since the last loud one, which are dropped if no other follows; None before the first.
    silent: list[Float16] | None = None
    for block in blocks:
        loud = np.flatnonzero(level_db(block, audio) >= audio.trim_silence_db)
        if len(loud):
            yield from silent or ()
            yield block[loud[0] if silent is None else 0 : loud[-1] + 1]
            silent = [block[loud[-1] + 1 :].astype(np.float16)]
        elif silent is not None:
            silent.append(block.astype(np.float16))


def _cut_chunks(
    blocks: Iterable[npt.NDArray[np.floating]], audio: AudioConfig, chunk_frames: int
) -> Iterator[Float16]:
    """Yields chunks in half precision, as they are stored: two hours take 80 MB."""
    waiting = np.empty((0, audio.n_mels), np.float16)
    for block in blocks:
        waiting = np.concatenate([waiting, block.astype(np.float16)])
        while len(waiting) >= chunk_frames:
            yield waiting[:chunk_frames].copy()
            waiting = waiting[chunk_frames:]
    if len(waiting):
        yield waiting
