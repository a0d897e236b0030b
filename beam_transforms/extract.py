"""One open audio file -> what the dataset keeps of it."""

from __future__ import annotations

import dataclasses
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from audio.codec import AudioReader, resample_blocks
from audio.config import AudioConfig
from audio.errors import AudioError
from audio.mel import LogMelStream
from audio.quality import level_db
from beam_transforms.settings import PrepareSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extracted:
    """One recording's frames and identity.

    Attributes:
      recording_id: 64 hex digits, from the decoded PCM.
      sample_rate: of the file, Hz.
      n_channels: of the file.
      duration_seconds: of the recording.
      frames: natural-log mel, float16 [n_frames, n_mels].
    """

    recording_id: str
    sample_rate: int
    n_channels: int
    duration_seconds: float
    frames: npt.NDArray[np.float16]


def extract_recording(
    file: BinaryIO, *, audio: AudioConfig, settings: PrepareSettings
) -> Extracted:
    """Decodes, mixes, resamples and transforms one recording, block by block.

    Raises:
      AudioError: it cannot be decoded, or is too short or silent to learn from.
    """
    reader = AudioReader(file)
    stream = LogMelStream(audio)
    blocks = resample_blocks(
        reader.mono_blocks(), from_rate=reader.sample_rate, to_rate=audio.sample_rate
    )
    # float16 halves what a long recording holds here, and is what the record stores.
    pieces = [stream.push(block).astype(np.float16) for block in blocks]
    duration_seconds = reader.n_samples / reader.sample_rate
    if duration_seconds < settings.min_seconds or reader.n_samples == 0:
        raise AudioError(
            f"too short: {duration_seconds:.3f} s, wanted at least {settings.min_seconds:g} s "
            "(prepare.min_seconds)"
        )
    frames = np.concatenate([*pieces, stream.finish().astype(np.float16)])
    loudest = float(level_db(frames, audio).max())
    if loudest < settings.min_level_db:
        raise AudioError(
            f"silent: its loudest frame is {loudest:.1f} dB re. full scale, wanted at least "
            f"{settings.min_level_db:g} dB (prepare.min_level_db)"
        )
    return Extracted(
        recording_id=reader.recording_id(),
        sample_rate=reader.sample_rate,
        n_channels=reader.n_channels,
        duration_seconds=duration_seconds,
        frames=frames,
    )
