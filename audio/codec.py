"""One channel out of any recording, in blocks; resampling; encoding of finished clips.

Nothing here holds a whole recording: a block is read, mixed to mono, resampled and handed on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import BinaryIO

import blake3
import numpy as np
import numpy.typing as npt
import soxr

from audio.channels import Look, look_at
from audio.decoders import open_decoder
from audio.errors import AudioError
from audio.loudness import LoudnessMeter, gain_to

Float32 = npt.NDArray[np.float32]

BLOCK_SAMPLES = 1 << 16
_MAX_CHANNELS = 64
_MIN_RATE, _MAX_RATE = 1_000, 768_000
# 40 dB over full scale: float files may be hot, but 1e30 is a broken file.
_MAX_AMPLITUDE = 100.0
# The largest 16 bit sample is 0.99997; what was decoded from a lossy file may lie beyond 1.
_FULL_SCALE = 0.9999
# A mix with a thousandth of its loudest channel's energy is what is left of two that cancel.
_CANCELLED = 1e-3


class AudioReader:
    """One open recording: its format, its samples as one channel, and what was seen on the way.

    Attributes:
      sample_rate: of the file, in Hz.
      n_channels: of the file.
      n_samples: samples per channel decoded so far.
      lowest, highest: of the one channel's samples so far, before any gain.
      peak: largest magnitude so far, over all channels.
      n_clipped: samples so far at full scale or beyond, over all channels.
      gain: what the one channel is multiplied by; 1 unless a loudness was asked for.
    """

    def __init__(self, file: BinaryIO, *, max_seconds: float = math.inf) -> None:
        """Opens a seekable binary file.

        Args:
          file: of any kind that audio/decoders.py knows.
          max_seconds: reading it to its end may take no longer than this.

        Raises:
          AudioError: it is no audio, its header makes no sense, or it is not all there.
        """
        self._max_seconds, self._opened = max_seconds, time.monotonic()
        self._decoder = open_decoder(file)
        self.sample_rate = self._decoder.sample_rate
        self.n_channels = self._decoder.n_channels
        self.n_samples = self.n_clipped = 0
        self.lowest, self.highest = np.inf, -np.inf
        self.peak, self.gain = 0.0, 1.0
        self._hash = blake3.blake3()
        if not _MIN_RATE <= self.sample_rate <= _MAX_RATE:
            raise AudioError(
                f"wanted a sample rate of {_MIN_RATE} to {_MAX_RATE} Hz, got {self.sample_rate}"
            )
        if not 1 <= self.n_channels <= _MAX_CHANNELS:
            raise AudioError(f"wanted 1 to {_MAX_CHANNELS} channels, got {self.n_channels}")
        self._hash.update(f"{self.sample_rate} {self.n_channels}\n".encode())
        self._meter = LoudnessMeter(self.sample_rate)

    def mono_blocks(
        self, channels: str = "mix", loudness_lufs: float | None = None
    ) -> Iterator[Float32]:
        """Yields the recording from its start as one channel: float32 [n], at sample_rate.

        Args:
          channels: see AudioConfig.channels; `loudest` decodes the recording twice.
          loudness_lufs: see AudioConfig.loudness_lufs; decodes the recording twice.

        Raises:
          AudioError: a sample is not finite or far beyond full scale, or decoding stops early or
            takes too long; or the channels cancel in the mix.
        """
        chosen = self._choose(channels)
        if loudness_lufs is not None:
            meter = LoudnessMeter(self.sample_rate)
            for _, look in self._looks(chosen):
                meter.push(look.mono)
            self.gain = gain_to(loudness_lufs, meter.lufs())
        energy = np.zeros(self.n_channels + 1)
        for block, look in self._looks(chosen):
            self._note(block, look)
            energy += look.energies
            yield look.mono if self.gain == 1 else look.mono * np.float32(self.gain)
        promised = self._decoder.promised
        if promised - self.n_samples > self._decoder.slack:
            raise AudioError(
                f"truncated: the header promises {promised} samples, {self.n_samples} "
                "could be decoded",
                remedy="Copy or download the file again.",
            )
        if chosen is None and energy[-1] < _CANCELLED * energy[:-1].max():
            raise AudioError(
                "antiphase: its channels cancel each other in the mix",
                remedy="Set audio.channels to left, right or loudest, or mend the file.",
            )

    def _note(self, block: Float32, look: Look) -> None:
        """Adds a block [n, n_channels] to the figures."""
        self._hash.update(block.view(np.uint8).data)
        self._meter.push(look.mono)
        self.n_samples += len(block)
        self.lowest = min(self.lowest, look.mono_lowest)
        self.highest = max(self.highest, look.mono_highest)
        peak = max(look.highest, -look.lowest)
        self.peak = max(self.peak, peak)
        if peak >= _FULL_SCALE:
            self.n_clipped += int(np.count_nonzero(np.abs(block) >= _FULL_SCALE))

    def _choose(self, channels: str) -> int | None:
        """Returns the channel to take, None for the mix."""
        if channels == "mix" or self.n_channels == 1:
            return None
        if channels != "loudest":
            return {"left": 0, "right": 1}[channels]
        energy = np.zeros(self.n_channels + 1)
        for _, look in self._looks(None):
            energy += look.energies
        return int(np.argmax(energy[:-1]))

    def _looks(self, chosen: int | None) -> Iterator[tuple[Float32, Look]]:
        """Yields blocks [n, n_channels] from the start, and what they hold, checked."""
        for block in self._decoder.blocks(BLOCK_SAMPLES):
            if time.monotonic() - self._opened > self._max_seconds:
                raise AudioError(
                    f"too slow: not done after {self._max_seconds:g} s",
                    remedy="Cut it into pieces, or raise prepare.max_seconds_per_file.",
                )
            look = look_at(block, chosen)
            # A comparison with NaN is false, so these also catch what is not finite.
            if not (look.highest <= _MAX_AMPLITUDE and look.lowest >= -_MAX_AMPLITUDE):
                raise AudioError(
                    f"wanted finite samples within ±{_MAX_AMPLITUDE:g}, got others",
                    remedy="Export the file anew from its source.",
                )
            yield block, look

    def lufs(self) -> float | None:
        """Returns the loudness of the one channel so far, before any gain; None if too short."""
        return self._meter.lufs()

    def recording_id(self) -> str:
        """Returns 64 hex digits: BLAKE3 of rate, channels and the float32 PCM decoded so far."""
        return self._hash.hexdigest()


def resample_blocks(
    blocks: Iterator[Float32], *, from_rate: int, to_rate: int
) -> Iterator[Float32]:
    """Resamples mono blocks with soxr at high quality, the same as the whole at once."""
    if from_rate == to_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def read_mono(
    file: BinaryIO,
    *,
    sample_rate: int,
    channels: str = "mix",
    loudness_lufs: float | None = None,
) -> Float32:
    """Returns a whole (short) recording as one channel, at a sample rate: float32 [n_samples].

    The options are those of AudioReader.mono_blocks.

    Raises:
      AudioError: as AudioReader.
    """
    reader = AudioReader(file)
    blocks = resample_blocks(
        reader.mono_blocks(channels, loudness_lufs),
        from_rate=reader.sample_rate,
        to_rate=sample_rate,
    )
    return np.concatenate([np.empty(0, np.float32), *blocks])


def to_pcm16(samples: Float32) -> npt.NDArray[np.int16]:
    """Returns samples in [-1, 1] as 16 bit integers: clipped first, then rounded."""
    return np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
