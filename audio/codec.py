"""Decoding in blocks, downmix, resampling; encoding of finished clips.

Nothing here holds a whole recording: a block is read, mixed to mono, resampled and handed on.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from audio.containers import check_whole
from audio.errors import AudioError

Float32 = npt.NDArray[np.float32]

BLOCK_SAMPLES = 1 << 16
_MAX_CHANNELS = 64
_MIN_RATE, _MAX_RATE = 1_000, 768_000
# 40 dB over full scale: float files may be hot, but 1e30 is a broken file.
_MAX_AMPLITUDE = 100.0
_MP3_SLACK = 12 * 1152
# A mix with a thousandth of its loudest channel's energy is what is left of two that cancel.
_CANCELLED = 1e-3


class AudioReader:
    """One open recording: its format, its samples as one channel, and the hash of what was decoded.

    Attributes:
      sample_rate: of the file, in Hz.
      n_channels: of the file.
      n_samples: samples per channel decoded so far.
      lowest, highest: of the samples of the one channel handed out so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Opens a seekable binary file that libsndfile can read.

        Raises:
          AudioError: it is no audio, its header makes no sense, or it is not all there.
        """
        check_whole(file)
        try:
            self._sound = soundfile.SoundFile(file)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"not readable as audio: {_reason(error)}",
                remedy="Wanted WAV, FLAC, Ogg Vorbis, Opus, MP3 or AIFF; convert it, or remove it.",
            ) from error
        self.sample_rate = int(self._sound.samplerate)
        self.n_channels = int(self._sound.channels)
        self.n_samples = 0
        self.lowest, self.highest = np.inf, -np.inf
        self._hash = hashlib.sha256()
        if not _MIN_RATE <= self.sample_rate <= _MAX_RATE:
            raise AudioError(
                f"wanted a sample rate of {_MIN_RATE} to {_MAX_RATE} Hz, got {self.sample_rate}"
            )
        if not 1 <= self.n_channels <= _MAX_CHANNELS:
            raise AudioError(f"wanted 1 to {_MAX_CHANNELS} channels, got {self.n_channels}")
        self._hash.update(f"{self.sample_rate} {self.n_channels}\n".encode())

    def mono_blocks(self, channels: str = "mix") -> Iterator[Float32]:
        """Yields the recording from its start as one channel: float32 [n], at sample_rate.

        Args:
          channels: see AudioConfig.channels; `loudest` decodes the recording twice.

        Raises:
          AudioError: a sample is not finite or far beyond full scale, or decoding stops early; or
            the channels cancel in the mix.
        """
        chosen = self._choose(channels)
        energy = np.zeros(self.n_channels + 1)
        for block in self._blocks():
            self._hash.update(block.data)
            self.n_samples += len(block)
            mono = downmix(block) if chosen is None else block[:, chosen]
            energy[:-1] += _energy(block)
            energy[-1] += mono @ mono
            self.lowest = min(self.lowest, float(mono.min()))
            self.highest = max(self.highest, float(mono.max()))
            yield mono
        promised = self._sound.frames
        if promised - self.n_samples > self._slack(promised):
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

    def _slack(self, promised: int) -> float:
        """Returns how many samples may be missing before a file counts as cut short.

        None, but for MP3: its headers count frames that decoders skip (asc-music's three files
        are short by 5,510 to 8,359 samples, and whole).
        """
        return max(_MP3_SLACK, promised / 200) if self._sound.format == "MP3" else 0

    def _choose(self, channels: str) -> int | None:
        """Returns the channel to take, None for the mix."""
        if channels == "mix" or self.n_channels == 1:
            return None
        if channels != "loudest":
            return {"left": 0, "right": 1}[channels]
        energy = sum((_energy(block) for block in self._blocks()), start=np.zeros(1))
        self._sound.seek(0)
        return int(np.argmax(energy))

    def _blocks(self) -> Iterator[Float32]:
        """Yields float32 [n, n_channels], checked."""
        while True:
            try:
                block = self._sound.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise AudioError(
                    f"decoding failed: {_reason(error)}", remedy="Copy or download the file again."
                ) from error
            if not len(block):
                return
            # A comparison with NaN is false, so this one test also catches what is not finite.
            if not (np.abs(block) <= _MAX_AMPLITUDE).all():
                raise AudioError(
                    f"wanted finite samples within ±{_MAX_AMPLITUDE:g}, got others",
                    remedy="Export the file anew from its source.",
                )
            yield block

    def recording_id(self) -> str:
        """Returns 64 hex digits: sha256 of rate, channels and the float32 PCM decoded so far."""
        return self._hash.hexdigest()


def downmix(block: Float32) -> Float32:
    """Returns the mean over channels of float32 [n, n_channels], as float32 [n]."""
    if block.shape[1] == 1:
        return block[:, 0]
    # Forty times as fast as block.mean(axis=1), whose inner loop is over two numbers.
    mono: Float32 = block @ np.full(block.shape[1], 1 / block.shape[1], np.float32)
    return mono


def _energy(block: Float32) -> npt.NDArray[np.float64]:
    """Returns the energy of each channel of [n, n_channels]."""
    return np.array([channel @ channel for channel in block.T], np.float64)


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


def read_mono(file: BinaryIO, *, sample_rate: int, channels: str = "mix") -> Float32:
    """Returns a whole (short) recording as one channel, at a sample rate: float32 [n_samples].

    Raises:
      AudioError: as AudioReader.
    """
    reader = AudioReader(file)
    blocks = resample_blocks(
        reader.mono_blocks(channels), from_rate=reader.sample_rate, to_rate=sample_rate
    )
    return np.concatenate([np.empty(0, np.float32), *blocks])


def to_pcm16(samples: Float32) -> npt.NDArray[np.int16]:
    """Returns samples in [-1, 1] as 16 bit integers: clipped first, then rounded."""
    return np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)


def encode_wav(samples: Float32, *, sample_rate: int) -> bytes:
    """Returns a mono 16 bit WAV file of float32 [n_samples]; equal samples give equal bytes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, to_pcm16(samples), sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _reason(error: Exception) -> str:
    """The library's words without the Python object that it was reading from."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
