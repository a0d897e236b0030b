"""From an open file to blocks of samples: libsndfile for most, PyAV for AAC.

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

from audio.containers import check_whole
from audio.errors import AudioError

Float32 = npt.NDArray[np.float32]

_MP3_SLACK = 12 * 1152
# AAC frames that an MP4 file's edit list counts and decoders leave out, at the start and the end.
_AAC_SLACK = 4 * 1024
_COPY_AGAIN = "Copy or download the file again."


class Decoder(Protocol):
    """An open recording.

    Attributes:
      sample_rate: in Hz, as the file says, whatever that is.
      n_channels: as the file says.
      promised: samples per channel that the file says it has; 0 where it says nothing.
      slack: how many of them may be missing before the file counts as cut short.
    """

    sample_rate: int
    n_channels: int
    promised: int
    slack: float

    def blocks(self, n_samples: int) -> Iterator[Float32]:
        """Yields the recording from its start: float32 [at most n_samples, n_channels].

        Raises:
          AudioError: it cannot be decoded to its end.
        """


def open_decoder(file: BinaryIO) -> Decoder:
    """Returns a decoder for a seekable binary file.

    Raises:
      AudioError: it is no audio that can be read here, or it is not all there.
    """
    head = file.read(16)
    file.seek(0)
    if is_aac(head):
        return _PyAvDecoder(file)
    check_whole(file)
    return _SndfileDecoder(file)


def is_aac(head: bytes) -> bool:
    """Whether the first bytes of a file are those of MP4 (M4A) or of bare AAC frames (ADTS)."""
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
        self.promised = int(self._sound.frames)
        # MP3 headers count frames that decoders skip (asc-music's three files are short by 5,510
        # to 8,359 samples, and whole).
        self.slack = max(_MP3_SLACK, self.promised / 200) if self._sound.format == "MP3" else 0.0

    def blocks(self, n_samples: int) -> Iterator[Float32]:
        # A stream that cannot seek is never rewound; one that was not read yet needs not be.
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
    slack = float(_AAC_SLACK)

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
            # Bare AAC frames carry no length; what FFmpeg guesses from the bit rate is no promise.
            seconds = stream.duration * stream.time_base if stream.duration else 0
            mp4 = "mp4" in container.format.name
            self.promised = round(seconds * self.sample_rate) if mp4 else 0

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
            # Planar floats are what the AAC decoder gives; other codecs in MP4 become that.
            resampler = self._av.AudioResampler(format="fltp")
            waiting: list[Float32] = []
            try:
                for frame in itertools.chain(container.decode(audio=0), (None,)):
                    waiting += [piece.to_ndarray().T for piece in resampler.resample(frame)]
                    if frame is not None and sum(map(len, waiting)) < n_samples:
                        continue
                    joined = np.concatenate([np.empty((0, self.n_channels), np.float32), *waiting])
                    waiting = []
                    for start in range(0, len(joined), n_samples):
                        yield np.ascontiguousarray(joined[start : start + n_samples])
            except (self._av.FFmpegError, ValueError) as error:
                raise AudioError(f"decoding failed: {error}", remedy=_COPY_AGAIN) from error


def _reason(error: Exception) -> str:
    """The library's words without the Python object that it was reading from."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
