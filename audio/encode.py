"""Encodes samples as an audio file; equal samples and tags give equal bytes."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable, Mapping
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

from audio.codec import to_pcm16
from audio.compiled import compiled
from audio.errors import UsageError

Float32 = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """A file format.

    Attributes:
      container: libsndfile's name of the container.
      subtype: libsndfile's name of the encoding of samples.
      suffix: End of a file's name, with the dot.
      sample_rates: The only sample rates of the format, Hz; empty if it has no such limit.
    """

    container: str
    subtype: str
    suffix: str
    sample_rates: tuple[int, ...] = ()


_MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
FORMATS = {
    "wav": Format(container="WAV", subtype="PCM_16", suffix=".wav"),
    "wav24": Format(container="WAV", subtype="PCM_24", suffix=".wav"),
    "wavfloat": Format(container="WAV", subtype="FLOAT", suffix=".wav"),
    "flac": Format(container="FLAC", subtype="PCM_24", suffix=".flac"),
    "vorbis": Format(container="OGG", subtype="VORBIS", suffix=".ogg"),
    "opus": Format(
        container="OGG",
        subtype="OPUS",
        suffix=".opus",
        sample_rates=(8000, 12000, 16000, 24000, 48000),
    ),
    "mp3": Format(
        container="MP3", subtype="MPEG_LAYER_III", suffix=".mp3", sample_rates=_MPEG_RATES
    ),
}
# Tags that libsndfile writes to every container that supports tags.
TAGS = ("title", "artist", "comment", "date", "software")


def sample_rate_for(format_name: str, sample_rate: int) -> int:
    """Returns the lowest rate of a format that is at least `sample_rate`, or its highest, Hz.

    Raises:
      UsageError: There is no such format.
    """
    if format_name not in FORMATS:
        raise UsageError(
            f"generate.format: wanted one of {', '.join(FORMATS)}; got {format_name!r}"
        )
    rates = FORMATS[format_name].sample_rates
    highest = max(rates, default=sample_rate)
    return min((rate for rate in rates if rate >= sample_rate), default=highest)


def encode(
    pieces: Iterable[Float32],
    file: BinaryIO,
    *,
    sample_rate: int,
    format_name: str,
    tags: Mapping[str, str],
) -> None:
    """Writes a mono audio file.

    Args:
      pieces: Samples, float32 [n] each, within [-1, 1].
      file: Empty file that is readable, writable and seekable; its position afterwards is
        undefined.
      sample_rate: Sample rate of the pieces, Hz; see sample_rate_for.
      format_name: A key of FORMATS.
      tags: Texts by their names, which are from TAGS.
    """
    file_format = FORMATS[format_name]
    with soundfile.SoundFile(
        file, "w", sample_rate, 1, format=file_format.container, subtype=file_format.subtype
    ) as sound:
        for tag, text in tags.items():
            setattr(sound, tag, text)
        # libsndfile's Vorbis encoder crashes on a minute of samples at once.
        for piece in pieces:
            for start in range(0, len(piece), sample_rate):
                part = piece[start : start + sample_rate]
                sound.write(to_pcm16(part) if file_format.subtype == "PCM_16" else part)
    if file_format.container == "OGG":
        _set_serial_number(file)
    if file_format.subtype == "FLOAT":
        _clear_time(file)


def _clear_time(file: BinaryIO) -> None:
    """Clears the time of writing in the PEAK chunk of a float WAV file."""
    file.seek(0)
    at = file.read(4096).find(b"PEAK")
    if at >= 0:
        file.seek(at + 12)
        file.write(bytes(4))


def _set_serial_number(file: BinaryIO) -> None:
    """Sets the serial number of an Ogg stream to 1; libsndfile derives it from the clock.

    References:
      RFC 3533, section 6: the page header. The checksum of a page is computed with the field of
        the checksum set to 0.
    """
    at = 0
    file.seek(0)
    while head := file.read(27):
        lengths = file.read(head[26])
        page = bytearray(head + lengths + file.read(sum(lengths)))
        struct.pack_into("<I", page, 14, 1)
        struct.pack_into("<I", page, 22, 0)
        struct.pack_into("<I", page, 22, _checksum(np.frombuffer(bytes(page), np.uint8)))
        file.seek(at)
        file.write(page)
        at += len(page)
        file.seek(at)


@compiled()
def _checksum(page: npt.NDArray[np.uint8]) -> np.uint32:
    """Returns the CRC-32 with polynomial 04c11db7, not reflected, initial value 0.

    zlib and the other libraries in use have only the reflected variant.
    """
    crc = np.uint32(0)
    for byte in page:
        crc ^= np.uint32(byte) << np.uint32(24)
        for _ in range(8):
            top = crc & np.uint32(0x80000000)
            crc = np.uint32(crc << np.uint32(1))
            if top:
                crc ^= np.uint32(0x04C11DB7)
    return crc
