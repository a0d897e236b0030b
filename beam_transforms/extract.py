"""One open audio file -> what the dataset keeps of it."""

from __future__ import annotations

import dataclasses
import time
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
    deadline = time.monotonic() + settings.max_seconds_per_file
    reader = AudioReader(file)
    stream = LogMelStream(audio)
    pieces = []
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
        # float16 halves what a long recording holds here, and is what the record stores.
        pieces.append(stream.push(block).astype(np.float16))
    duration_seconds = reader.n_samples / reader.sample_rate
    if duration_seconds < settings.min_seconds or reader.n_samples == 0:
        raise AudioError(
            f"too short: {duration_seconds:.3f} s, wanted at least {settings.min_seconds:g} s",
            remedy="Lower prepare.min_seconds, or remove it.",
        )
    if reader.highest - reader.lowest < _CONSTANT:
        raise AudioError("silent: its samples are all the same", remedy="Remove it.")
    frames = np.concatenate([*pieces, stream.finish().astype(np.float16)])
    loudest = float(level_db(frames, audio).max())
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
        frames=frames,
    )
