"""Samples -> the bytes of an audio file; equal samples and tags give equal bytes."""

from __future__ import annotations

import dataclasses
import io
import struct
from collections.abc import Mapping

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


def encode(samples: Float32, *, sample_rate: int, name: str, tags: Mapping[str, str]) -> bytes:
    """Returns a mono audio file.

    Args:
      samples: float32 [n], within [-1, 1].
      sample_rate: Hz, see sample_rate_for.
      name: a key of FORMATS.
      tags: of TAGS.
    """
    kind = FORMATS[name]
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", sample_rate, 1, format=kind.container, subtype=kind.subtype
    ) as file:
        for tag, text in tags.items():
            setattr(file, tag, text)
        # libsndfile's Vorbis writer fails on a whole minute at once.
        for start in range(0, len(samples), sample_rate):
            piece = samples[start : start + sample_rate]
            file.write(to_pcm16(piece) if kind.subtype == "PCM_16" else piece)
    content = bytearray(buffer.getvalue())
    if kind.container == "OGG":
        _number_stream(content)
    if kind.subtype == "FLOAT":
        _forget_time(content)
    return bytes(content)


def _forget_time(content: bytearray) -> None:
    """Clears when the PEAK chunk of a float WAV was written: its second four bytes."""
    at = content.find(b"PEAK", 0, 4096)
    if at >= 0:
        content[at + 12 : at + 16] = bytes(4)


def _number_stream(content: bytearray) -> None:
    """Gives an Ogg stream the serial number 1, where libsndfile draws one by the clock.

    References:
      RFC 3533, section 6: the page header; its checksum is over the page with a checksum of 0.
    """
    at = 0
    while at < len(content):
        size = 27 + content[at + 26]
        size += sum(content[at + 27 : at + size])
        struct.pack_into("<I", content, at + 14, 1)
        struct.pack_into("<I", content, at + 22, 0)
        page = np.frombuffer(bytes(content[at : at + size]), np.uint8)
        struct.pack_into("<I", content, at + 22, _checksum(page))
        at += size


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
