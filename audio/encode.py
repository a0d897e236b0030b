"""Samples -> the bytes of an audio file; equal samples and tags give equal bytes."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable, Mapping
from typing import BinaryIO

import numba
import numpy as np
import numpy.typing as npt
import soundfile

from audio.codec import to_pcm16
from audio.errors import UsageError

Float32 = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of file.

    Attributes:
      container, subtype: as libsndfile calls them.
      ending: of a file's name.
      sample_rates: the only ones that it takes, Hz; empty where it takes any.
    """

    container: str
    subtype: str
    ending: str
    sample_rates: tuple[int, ...] = ()


_MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
FORMATS = {
    "wav": Format(container="WAV", subtype="PCM_16", ending=".wav"),
    "wav24": Format(container="WAV", subtype="PCM_24", ending=".wav"),
    "wavfloat": Format(container="WAV", subtype="FLOAT", ending=".wav"),
    "flac": Format(container="FLAC", subtype="PCM_24", ending=".flac"),
    "vorbis": Format(container="OGG", subtype="VORBIS", ending=".ogg"),
    "opus": Format(
        container="OGG",
        subtype="OPUS",
        ending=".opus",
        sample_rates=(8000, 12000, 16000, 24000, 48000),
    ),
    "mp3": Format(
        container="MP3", subtype="MPEG_LAYER_III", ending=".mp3", sample_rates=_MPEG_RATES
    ),
}
# What libsndfile writes into every container that has room for it.
TAGS = ("title", "artist", "comment", "date", "software")


def sample_rate_for(name: str, wanted: int) -> int:
    """Returns the lowest rate of a format that keeps all of `wanted`, or its highest.

    Raises:
      UsageError: there is no such format.
    """
    if name not in FORMATS:
        raise UsageError(f"generate.format: wanted one of {', '.join(FORMATS)}; got {name!r}")
    rates = FORMATS[name].sample_rates
    return min((rate for rate in rates if rate >= wanted), default=max(rates, default=wanted))


def encode(
    pieces: Iterable[Float32],
    file: BinaryIO,
    *,
    sample_rate: int,
    name: str,
    tags: Mapping[str, str],
) -> None:
    """Writes a mono audio file.

    Args:
      pieces: float32 [n] each, within [-1, 1].
      file: empty, readable, writable and seekable; its position is left anywhere.
      sample_rate: Hz, see sample_rate_for.
      name: a key of FORMATS.
      tags: of TAGS.
    """
    kind = FORMATS[name]
    with soundfile.SoundFile(
        file, "w", sample_rate, 1, format=kind.container, subtype=kind.subtype
    ) as sound:
        for tag, text in tags.items():
            setattr(sound, tag, text)
        # libsndfile's Vorbis writer fails on a whole minute at once.
        for piece in pieces:
            for start in range(0, len(piece), sample_rate):
                part = piece[start : start + sample_rate]
                sound.write(to_pcm16(part) if kind.subtype == "PCM_16" else part)
    if kind.container == "OGG":
        _number_stream(file)
    if kind.subtype == "FLOAT":
        _forget_time(file)


def _forget_time(file: BinaryIO) -> None:
    """Clears when the PEAK chunk of a float WAV was written: its second four bytes."""
    file.seek(0)
    at = file.read(4096).find(b"PEAK")
    if at >= 0:
        file.seek(at + 12)
        file.write(bytes(4))


def _number_stream(file: BinaryIO) -> None:
    """Gives an Ogg stream the serial number 1, where libsndfile draws one by the clock.

    References:
      RFC 3533, section 6: the page header; its checksum is over the page with a checksum of 0.
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


@numba.njit(cache=True)
def _checksum(page):  # type: ignore[no-untyped-def]
    """CRC-32 of polynomial 04c11db7, not reflected, from 0: no library has this one."""
    crc = np.uint32(0)
    for byte in page:
        crc ^= np.uint32(byte) << np.uint32(24)
        for _ in range(8):
            top = crc & np.uint32(0x80000000)
            crc = np.uint32(crc << np.uint32(1))
            if top:
                crc ^= np.uint32(0x04C11DB7)
    return crc
