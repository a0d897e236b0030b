"""Decodes an open file to blocks of samples: with libsndfile, or with PyAV what that does not read.

PyAV (the extra `audio-formats`) is only for what libsndfile does not read. It is slower, and its
wheel contains all of FFmpeg with GPL parts, so nobody else should have to install it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from audio.containers import Layout, Part, find_sound
from audio.errors import AudioError
from audio.formats import FOREIGN, Format, find_format

Float32 = npt.NDArray[np.float32]

# The edit list of an MP4 file counts AAC frames that decoders leave out at the start and the end,
# and the clocks of Matroska files have milliseconds.
_PYAV_TOLERANCE = 4 * 1024
# Channels that PyAV can give as planes; it crashes if a damaged frame has more.
_PLANES = 8
# Formats of FFmpeg in which frames follow each other without a container, and the size of tags that
# may be at the end, bytes.
_FRAMES_ONLY = ("aac", "ac3", "eac3")
_TAGS = 512
# Samples that are decoded at a time, so that an error is known to be among so few.
_STEP = 4096
_COPY_AGAIN = "Copy or download the file again."


class Decoder(Protocol):
    """An open recording.

    Attributes:
      sample_rate: Sample rate that the header declares, Hz; not checked.
      n_channels: Number of channels that the header declares; not checked.
      lost_samples: About how many samples per channel are known to be missing, once the blocks
        have been read to the end; infinity if it is unknown how many.
      fault: What is wrong with the file; empty if no samples are missing.
    """

    sample_rate: int
    n_channels: int
    lost_samples: float
    fault: str

    def blocks(self, n_samples: int) -> Iterator[Float32]:
        """Yields the recording from its start: float32 [at most n_samples, n_channels].

        Raises:
          AudioError: Nothing can be decoded.
        """


def open_decoder(file: BinaryIO) -> Decoder:
    """Returns a decoder for a seekable binary file.

    Raises:
      AudioError: The file is not audio, or its format is not supported.
    """
    found, start = find_format(file)
    if found in FOREIGN:
        return _PyAvDecoder(file, found, start=start)
    layout = find_sound(file, found, start)
    try:
        return _SndfileDecoder(layout, found)
    except AudioError:
        if found is None or not has_pyav():
            raise
        with contextlib.suppress(AudioError):
            # A codec that libsndfile does not know in a container that it knows, such as Speex.
            other = _PyAvDecoder(file, found, start=start, layout=layout)
            if other.sample_rate and other.n_channels:
                return other
        raise


def has_pyav() -> bool:
    """Returns whether the optional package av is installed."""
    try:
        return importlib.util.find_spec("av") is not None
    except ValueError:  # somebody has replaced the module
        return False


class _SndfileDecoder:
    def __init__(self, layout: Layout, found: Format | None) -> None:
        self._layout, self._format = layout, found
        self.lost_samples, self.fault = 0.0, ""
        with self._open(layout.parts[0].file) as sound:
            self.sample_rate = int(sound.samplerate)
            self.n_channels = int(sound.channels)

    def _open(self, file: BinaryIO) -> Any:
        file.seek(0)
        try:
            return soundfile.SoundFile(file)
        except soundfile.LibsndfileError as error:
            kind = f"{self._format.value} " if self._format else ""
            raise AudioError(
                f"{kind}not readable as audio: {_reason(error)}",
                remedy="Wanted WAV, FLAC, Ogg Vorbis, Opus, MP3, AIFF or M4A; convert it, or "
                "remove it.",
            ) from error

    def blocks(self, n_samples: int) -> Iterator[Float32]:
        self.lost_samples, self.fault = 0.0, self._layout.fault
        total = 0
        for part in self._layout.parts:
            read = self._read_part(part, n_samples)
            for block in _as_first(read, self.sample_rate, self.n_channels):
                total += len(block)
                yield block
        if self.fault and not total:
            raise AudioError(self.fault, remedy=_COPY_AGAIN)
        known = 1.0 if self._layout.fault else 0.0
        self.lost_samples = max(self.lost_samples, self._layout.lost_samples(total), known)

    def _read_part(self, part: Part, n_samples: int) -> Iterator[tuple[int, Float32]]:
        """Yields the sample rate and a block of one part's samples, and counts those it lacks."""
        limit = part.limit or math.inf
        total, damaged, sample_rate = 0, 0, self.sample_rate
        piece: Part | None = part
        while piece:
            begin = total
            with self._open(piece.file) as sound:
                sample_rate = int(sound.samplerate)
                while total < limit:
                    block = np.empty((int(min(n_samples, limit - total)), sound.channels), "f4")
                    n_read, n_damaged, error = _read(sound, block)
                    total, damaged = total + n_read, damaged + n_damaged
                    if error:
                        self.fault = self.fault or f"damaged, decoding failed: {error}"
                    if not n_read:
                        break
                    yield sample_rate, block[:n_read]
            rest = piece.rest_after(total - begin) if piece.rest_after else None
            piece, n_missing = rest or (None, 0)
            damaged += n_missing
        expected = part.expected * (sample_rate / part.rate if part.rate else 1)
        if expected - total > part.tolerance:
            damaged = max(damaged, round(expected - total))
            self.fault = self._layout.fault or _truncated(expected, total)
        self.lost_samples += damaged * self.sample_rate / sample_rate


def _as_first(
    blocks: Iterator[tuple[int, Float32]], sample_rate: int, n_channels: int
) -> Iterator[Float32]:
    """Yields blocks, each given with its sample rate, with the rate and channels of the first."""
    stream, stream_rate = None, sample_rate
    end = np.empty((0, n_channels), np.float32)
    for rate, block in blocks:
        if block.shape[1] != n_channels:
            block = np.repeat(block.mean(axis=1, keepdims=True), n_channels, axis=1)
        if rate != stream_rate:
            if stream:
                yield stream.resample_chunk(end, last=True)
            stream, stream_rate = None, rate
            if rate != sample_rate:
                stream = soxr.ResampleStream(rate, sample_rate, n_channels, dtype="float32")
        yield stream.resample_chunk(block) if stream else block
    if stream:
        yield stream.resample_chunk(end, last=True)


def _read(sound: Any, block: Float32) -> tuple[int, int, str]:
    """Fills a block from where the decoder is, until it says that this is the end.

    soundfile's own methods drop what was decoded together with an error, and seek after each block,
    which some formats cannot.

    Returns:
      The number of samples read, how many of them are damaged, and the last error's text.
    """
    done = damaged = 0
    text = ""
    while done < len(block):
        step = block[done : done + _STEP]
        target = soundfile._ffi.cast("float *", step.ctypes.data)
        n_read = int(soundfile._snd.sf_readf_float(sound._file, target, len(step)))
        if error := soundfile._snd.sf_error(sound._file):
            text = _reason(soundfile.LibsndfileError(error))
            damaged += n_read
        if n_read <= 0:
            break
        done += n_read
    return done, damaged, text


class _PyAvDecoder:
    def __init__(
        self, file: BinaryIO, found: Format, *, start: int = 0, layout: Layout | None = None
    ) -> None:
        """Opens a file of the format `found`, which is after `start` bytes of tags."""
        try:
            import av
        except ImportError as error:
            raise AudioError(
                f"{found.value}, which needs the optional package av",
                remedy="Run `pip install av` wherever files are decoded, or convert it to FLAC.",
            ) from error
        self._av: Any = av
        self._file, self._format = file, found
        self._layout = layout or Layout(parts=(Part(file),))
        self._content_bytes = file.seek(0, os.SEEK_END) - start
        self.lost_samples, self.fault = 0.0, ""
        with self._open() as container:
            stream = self._stream(container)
            self.sample_rate = int(stream.rate or 0)
            self.n_channels = int(stream.channels)
            self._declared = self._declared_samples(container, stream)

    def _open(self) -> Any:
        self._file.seek(0)
        try:
            return self._av.open(self._file, mode="r")
        except (self._av.FFmpegError, ValueError) as error:
            raise AudioError(
                f"{self._format.value} not readable as audio: {_reason(error)}", remedy=_COPY_AGAIN
            ) from error

    def _stream(self, container: Any) -> Any:
        if not container.streams.audio:
            raise AudioError("no audio in it", remedy="Remove it from the input.")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise AudioError("FFmpeg does not know its codec", remedy="Convert it, or remove it.")
        return stream

    def _declared_samples(self, container: Any, stream: Any) -> float:
        """Returns the number of samples that the container declares; 0 if FFmpeg only guesses."""
        name = container.format.name
        if stream.duration and ("mp4" in name or name in ("wv", "tta")):
            return float(stream.duration * stream.time_base * self.sample_rate)
        # Matroska has a tag for each stream, such as 00:03:20.040000000.
        clock = re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", stream.metadata.get("DURATION", ""))
        if clock:
            hours, minutes, seconds = map(float, clock.groups())
            return (hours * 3600 + minutes * 60 + seconds) * self.sample_rate
        return 0.0

    def blocks(self, n_samples: int) -> Iterator[Float32]:
        self.lost_samples, self.fault = 0.0, self._layout.fault
        total, pieces = 0, [np.empty((0, self.n_channels), np.float32)]
        for piece in _as_first(self._pieces(), self.sample_rate, self.n_channels):
            total += len(piece)
            pieces.append(piece)
            if sum(map(len, pieces)) >= n_samples:
                joined = np.concatenate(pieces)
                whole = len(joined) // n_samples * n_samples
                for start in range(0, whole, n_samples):
                    yield np.ascontiguousarray(joined[start : start + n_samples])
                pieces = [joined[whole:]]
        rest = np.ascontiguousarray(np.concatenate(pieces))
        if len(rest):
            yield rest
        self.lost_samples = max(self.lost_samples, self._layout.lost_samples(total))
        if self._declared - total > _PYAV_TOLERANCE:
            self.lost_samples = max(self.lost_samples, self._declared - total)
            self.fault = self._layout.fault or _truncated(self._declared, total)

    def _pieces(self) -> Iterator[tuple[int, Float32]]:
        """Yields the sample rate and samples of each packet, float32 [n, its channels]."""
        with self._open() as container:
            stream = self._stream(container)
            # Otherwise, wrong checksums are only written to a log.
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
            try:
                for frame in self._frames(container, stream):
                    n_channels = frame.layout.nb_channels
                    if frame.format.name == "fltp" and n_channels <= _PLANES:
                        yield frame.sample_rate, frame.to_ndarray().T
                        continue
                    resampler = self._av.AudioResampler(format="flt")
                    for piece in (*resampler.resample(frame), *resampler.resample(None)):
                        yield frame.sample_rate, piece.to_ndarray().reshape(-1, n_channels)
            except (self._av.FFmpegError, ValueError) as error:
                reason = _reason(error)
                raise AudioError(f"decoding failed: {reason}", remedy=_COPY_AGAIN) from error

    def _frames(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yields what packets give, and counts what is missing between them.

        It is counted by packets that are damaged, by gaps between times, and, where there is no
        container, by bytes that belong to no packet.
        """
        packets = container.demux(stream)
        length, total, n_bytes, end = stream.rate // 50, 0, 0, None
        damaged = gaps = 0.0
        while True:
            try:
                packet = next(packets)
                n_bytes += packet.size
                if packet.duration:
                    length = float(packet.duration * packet.time_base) * stream.rate
                frames = packet.decode()
            except StopIteration:
                break
            except self._av.InvalidDataError as error:
                damaged += length
                self.fault = self.fault or f"damaged, decoding failed: {_reason(error)}"
                continue
            for frame in frames:
                if frame.pts is not None:
                    begin = float(frame.pts * frame.time_base) * frame.sample_rate
                    gaps += max(0.0, begin - end) if end is not None else 0.0
                    end = begin + frame.samples
                length, total = frame.samples, total + frame.samples
                yield frame
        skipped = self._content_bytes - n_bytes
        if container.format.name in _FRAMES_ONLY and skipped > _TAGS:
            damaged = max(damaged, total * skipped / n_bytes)
        self.lost_samples = max(damaged, gaps if gaps > _PYAV_TOLERANCE else 0.0)
        if self.lost_samples:
            self.fault = self.fault or "damaged: some of its frames are lost"


def _truncated(expected: float, total: int) -> str:
    return f"truncated: the header promises {expected:.0f} samples, {total} could be decoded"


def _reason(error: Exception) -> str:
    """Returns the message of libsndfile or FFmpeg without the name of the Python file object."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(text).removeprefix("Error : ").strip().rstrip(".")
