"""Decodes an open file to blocks of samples: with PyAV for AAC, with libsndfile for the rest.

PyAV (the extra `audio-formats`) is only for what libsndfile does not read. It is slower, and its
wheel contains all of FFmpeg with GPL parts, so nobody else should have to install it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from audio.containers import check_complete
from audio.errors import AudioError

Float32 = npt.NDArray[np.float32]

# Samples that may be missing. MP3 headers count frames that decoders skip: the three files of
# Debian's asc-music are complete, and short by 5,510 to 8,359 samples.
_MP3_TOLERANCE = 12 * 1152
# The edit list of an MP4 file counts AAC frames that decoders leave out at the start and the end.
_AAC_TOLERANCE = 4 * 1024
_COPY_AGAIN = "Copy or download the file again."


class Decoder(Protocol):
    """An open recording.

    Attributes:
      sample_rate: Sample rate that the header declares, Hz; not checked.
      n_channels: Number of channels that the header declares; not checked.
      declared_samples: Number of samples per channel that the header declares; 0 if it declares
        none.
      tolerance: Number of declared samples that may be missing in a complete file.
    """

    sample_rate: int
    n_channels: int
    declared_samples: int
    tolerance: float

    def blocks(self, n_samples: int) -> Iterator[Float32]:
        """Yields the recording from its start: float32 [at most n_samples, n_channels].

        Raises:
          AudioError: The recording cannot be decoded to its end.
        """


def open_decoder(file: BinaryIO) -> Decoder:
    """Returns a decoder for a seekable binary file.

    Raises:
      AudioError: The file is not audio, its format is not supported, or it is truncated.
    """
    head = file.read(16)
    file.seek(0)
    if is_aac(head):
        return _PyAvDecoder(file)
    check_complete(file)
    return _SndfileDecoder(file)


def is_aac(head: bytes) -> bool:
    """Returns whether a file that starts with `head` is MP4 (M4A) or bare AAC frames (ADTS)."""
    adts = head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0
    return head[4:8] == b"ftyp" or adts


class _SndfileDecoder:
    def __init__(self, file: BinaryIO) -> None:
        try:
            self._sound = soundfile.SoundFile(file)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"not readable as audio: {_reason(error)}",
                remedy="Wanted WAV, FLAC, Ogg Vorbis, Opus, MP3, AIFF or M4A; convert it, or "
                "remove it.",
            ) from error
        self.sample_rate = int(self._sound.samplerate)
        self.n_channels = int(self._sound.channels)
        self.declared_samples = int(self._sound.frames)
        is_mp3 = self._sound.format == "MP3"
        self.tolerance = max(_MP3_TOLERANCE, self.declared_samples / 200) if is_mp3 else 0.0

    def blocks(self, n_samples: int) -> Iterator[Float32]:
        # Only a second pass has to rewind, which some streams cannot do.
        if self._sound.tell():
            self._sound.seek(0)
        while True:
            try:
                block = self._sound.read(n_samples, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise AudioError(
                    f"decoding failed: {_reason(error)}", remedy=_COPY_AGAIN
                ) from error
            if not len(block):
                return
            yield block


class _PyAvDecoder:
    tolerance = float(_AAC_TOLERANCE)

    def __init__(self, file: BinaryIO) -> None:
        try:
            import av
        except ImportError as error:
            raise AudioError(
                "M4A or AAC, which needs the optional package av",
                remedy="Run `pip install av` wherever files are decoded, or convert it to FLAC.",
            ) from error
        self._av: Any = av
        self._file = file
        with self._open() as container:
            stream = self._stream(container)
            self.sample_rate = int(stream.rate or 0)
            self.n_channels = int(stream.channels)
            # Bare AAC frames declare no length: FFmpeg only guesses it from the bit rate.
            seconds = stream.duration * stream.time_base if stream.duration else 0
            mp4 = "mp4" in container.format.name
            self.declared_samples = round(seconds * self.sample_rate) if mp4 else 0

    def _open(self) -> Any:
        self._file.seek(0)
        try:
            return self._av.open(self._file, mode="r")
        except self._av.FFmpegError as error:
            raise AudioError(f"not readable as audio: {error.strerror}") from error

    def _stream(self, container: Any) -> Any:
        if not container.streams.audio:
            raise AudioError("no audio in it", remedy="Remove it from the input.")
        return container.streams.audio[0]

    def blocks(self, n_samples: int) -> Iterator[Float32]:
        with self._open() as container:
            self._stream(container)
            # The AAC decoder returns planar floats; samples of other codecs are converted to them.
            resampler = self._av.AudioResampler(format="fltp")
            pieces: list[Float32] = []
            try:
                for frame in itertools.chain(container.decode(audio=0), (None,)):
                    pieces += [piece.to_ndarray().T for piece in resampler.resample(frame)]
                    if frame is not None and sum(map(len, pieces)) < n_samples:
                        continue
                    joined = np.concatenate([np.empty((0, self.n_channels), np.float32), *pieces])
                    pieces = []
                    for start in range(0, len(joined), n_samples):
                        yield np.ascontiguousarray(joined[start : start + n_samples])
            except (self._av.FFmpegError, ValueError) as error:
                raise AudioError(f"decoding failed: {error}", remedy=_COPY_AGAIN) from error


def _reason(error: Exception) -> str:
    """Returns libsndfile's message without the name of the Python file object."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
