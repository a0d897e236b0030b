"""Reading any recording as mono in blocks, resampling, and conversion to 16-bit integers.

No function keeps a whole recording in memory, except `read_mono`, which is for short ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import blake3
import numpy as np
import numpy.typing as npt
import soxr

from audio.channels import Mixdown, mix_down
from audio.decoders import open_decoder
from audio.errors import AudioError
from audio.loudness import LoudnessMeter, gain_to

Float32 = npt.NDArray[np.float32]

# Samples per channel that are decoded at a time.
BLOCK_SAMPLES = 1 << 16
_MAX_CHANNELS = 64
# Sample rates, Hz.
_MIN_RATE = 1_000
_MAX_RATE = 768_000
# 40 dB above full scale: float files may exceed full scale, but 1e30 is a broken file.
_MAX_AMPLITUDE = 100.0
# The largest 16-bit sample is 0.99997; samples decoded from a lossy file may be larger than 1.
_FULL_SCALE = 0.9999
# Share of the loudest channel's energy. A mix with less energy comes from channels that cancel.
_CANCELLED = 1e-3


class AudioReader:
    """One open recording: its format, its samples as mono, and measurements of what was decoded.

    Attributes:
      sample_rate: Sample rate of the file, Hz.
      n_channels: Number of channels of the file.
      n_samples: Number of samples per channel decoded so far.
      lowest: Smallest mono sample so far, before any gain.
      highest: Largest mono sample so far, before any gain.
      peak: Largest magnitude so far, over all channels.
      n_clipped: Number of samples so far at or above full scale, over all channels.
      gain: Factor applied to the mono samples; 1 unless a loudness was requested.
      lost_seconds: About how much sound is missing from a file that was read to its end, because
        it is damaged or truncated; infinity if it is unknown how much.
    """

    def __init__(
        self, file: BinaryIO, *, max_seconds: float = math.inf, max_lost_share: float = 0.01
    ) -> None:
        """Opens a recording.

        Args:
          file: Seekable binary file of any format that audio/decoders.py supports.
          max_seconds: Time limit for reading the file to its end, seconds.
          max_lost_share: Share of the sound that may be missing.

        Raises:
          AudioError: The file is not audio, or its header makes no sense.
        """
        self._max_seconds, self._max_lost_share = max_seconds, max_lost_share
        self._opened = time.monotonic()
        self._decoder = open_decoder(file)
        self.sample_rate = self._decoder.sample_rate
        self.n_channels = self._decoder.n_channels
        self.n_samples = self.n_clipped = 0
        self.lowest, self.highest = np.inf, -np.inf
        self.peak = 0.0
        self.gain = 1.0
        self.lost_seconds = 0.0
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
        """Yields the recording from its start as mono blocks: float32 [n], at sample_rate.

        Args:
          channels: See AudioConfig.channels. `loudest` decodes the recording twice.
          loudness_lufs: See AudioConfig.loudness_lufs. A value decodes the recording twice.

        Raises:
          AudioError: A sample is not finite or far above full scale, too much of the sound is
            missing, decoding takes too long, or the channels cancel in the mix.
        """
        channel = self._choose(channels)
        if loudness_lufs is not None:
            meter = LoudnessMeter(self.sample_rate)
            for _, mixdown in self._mixdowns(channel):
                meter.push(mixdown.mono)
            self.gain = gain_to(loudness_lufs, meter.lufs())
        energies = np.zeros(self.n_channels + 1)
        for block, mixdown in self._mixdowns(channel):
            self._measure(block, mixdown)
            energies += mixdown.energies
            yield mixdown.mono if self.gain == 1 else mixdown.mono * np.float32(self.gain)
        self._check_lost()
        if channel is None and energies[-1] < _CANCELLED * energies[:-1].max():
            raise AudioError(
                "antiphase: its channels cancel each other in the mix",
                remedy="Set audio.channels to left, right or loudest, or repair the file.",
            )

    def _check_lost(self) -> None:
        """Notes how much of the sound is missing.

        Raises:
          AudioError: It is more than allowed.
        """
        lost = self._decoder.lost_samples
        self.lost_seconds = lost / self.sample_rate
        share = 1.0 if math.isinf(lost) else lost / max(1.0, lost + self.n_samples)
        if share > self._max_lost_share:
            raise AudioError(
                f"{self._decoder.fault}; missing: {format_lost(self.lost_seconds)}",
                remedy="Copy or download the file again, or use what is left of it: raise "
                "prepare.max_lost_share.",
            )

    def _measure(self, block: Float32, mixdown: Mixdown) -> None:
        """Adds a block [n, n_channels] to the measurements."""
        self._hash.update(block.view(np.uint8).data)
        self._meter.push(mixdown.mono)
        self.n_samples += len(block)
        self.lowest = min(self.lowest, mixdown.mono_lowest)
        self.highest = max(self.highest, mixdown.mono_highest)
        peak = max(mixdown.highest, -mixdown.lowest)
        self.peak = max(self.peak, peak)
        if peak >= _FULL_SCALE:
            self.n_clipped += int(np.count_nonzero(np.abs(block) >= _FULL_SCALE))

    def _choose(self, channels: str) -> int | None:
        """Returns the index of the channel to take, None for the mix."""
        if channels == "mix" or self.n_channels == 1:
            return None
        if channels != "loudest":
            return {"left": 0, "right": 1}[channels]
        energies = np.zeros(self.n_channels + 1)
        for _, mixdown in self._mixdowns(None):
            energies += mixdown.energies
        return int(np.argmax(energies[:-1]))

    def _mixdowns(self, channel: int | None) -> Iterator[tuple[Float32, Mixdown]]:
        """Yields blocks [n, n_channels] from the start, each with its mixdown, after checks."""
        for block in self._decoder.blocks(BLOCK_SAMPLES):
            if time.monotonic() - self._opened > self._max_seconds:
                raise AudioError(
                    f"too slow: not done after {self._max_seconds:g} s",
                    remedy="Cut it into pieces, or raise prepare.max_seconds_per_file.",
                )
            mixdown = mix_down(block, channel)
            # A comparison with NaN is false, so this rejects NaN as well.
            if not (mixdown.highest <= _MAX_AMPLITUDE and mixdown.lowest >= -_MAX_AMPLITUDE):
                raise AudioError(
                    f"wanted finite samples within ±{_MAX_AMPLITUDE:g}, got others",
                    remedy="Export the file again from its source.",
                )
            yield block, mixdown

    def lufs(self) -> float | None:
        """Returns the loudness of mono so far, before any gain, LUFS; None if it is too short."""
        return self._meter.lufs()

    def recording_id(self) -> str:
        """Returns 64 hex digits: BLAKE3 of rate, channels and the float32 PCM decoded so far."""
        return self._hash.hexdigest()


def format_lost(seconds: float) -> str:
    """Returns how much sound is missing, for people; infinity is an unknown length."""
    return "nobody knows how much" if math.isinf(seconds) else f"about {seconds:.2f} s"


def resample_blocks(
    blocks: Iterable[Float32], *, from_rate: int, to_rate: int, quality: str = "HQ"
) -> Iterator[Float32]:
    """Resamples mono blocks with soxr; the result does not depend on where blocks end."""
    if from_rate == to_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality=quality)
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
    """Returns a whole (short) recording as mono: float32 [n_samples].

    Args:
      file: See AudioReader.
      sample_rate: Sample rate of the result, Hz.
      channels: See AudioReader.mono_blocks.
      loudness_lufs: See AudioReader.mono_blocks.

    Raises:
      AudioError: See AudioReader and AudioReader.mono_blocks.
    """
    reader = AudioReader(file)
    blocks = resample_blocks(
        reader.mono_blocks(channels, loudness_lufs),
        from_rate=reader.sample_rate,
        to_rate=sample_rate,
    )
    return np.concatenate([np.empty(0, np.float32), *blocks])


def to_pcm16(samples: Float32) -> npt.NDArray[np.int16]:
    """Returns samples in [-1, 1] as 16-bit integers: clipped first, then rounded."""
    return np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
