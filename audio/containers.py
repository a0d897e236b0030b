"""Finds truncated and damaged audio files by what their containers declare.

libsndfile reads a truncated file as far as it goes and reports nothing. These checks read only
headers: the sizes of chunks (WAV, RF64, W64, AIFF, AU), or the sequence and the end of pages (Ogg).
FLAC and MP3 declare a number of samples, which AudioReader compares with what it decoded.

References:
  Microsoft, "Multimedia Programming Interface and Data Specifications 1.0", 1991: RIFF.
  EBU Tech 3306, "RF64", 2009. Apple, "AIFF 1.3", 1989. RFC 3533, "The Ogg encapsulation format".
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from audio.errors import AudioError

_REMEDY = "Copy or download the file again."
# Writers that cannot seek back leave one of these as the size: it declares nothing.
_UNKNOWN_SIZES = frozenset({0, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFE})
# Names of chunks in W64 files.
_W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
# Flag in the header of the last Ogg page of a stream.
_END_OF_STREAM = 4


def check_complete(file: BinaryIO) -> None:
    """Checks that a seekable file is as long as its container declares, and rewinds it.

    Raises:
      AudioError: The file ends early, or a part in the middle is missing.
    """
    n_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64"):
        _check_chunks(file, n_bytes, order=">" if head[:4] == b"RIFX" else "<", data=b"data")
    elif head[:4] == b"FORM":
        _check_chunks(file, n_bytes, order=">", data=b"SSND")
    elif head == _W64_RIFF:
        _check_w64(file, n_bytes)
    elif head[:4] == b".snd":
        start, size = struct.unpack(">II", head[4:12])
        _check_size(start, size, n_bytes)
    elif head[:4] == b"OggS":
        _check_ogg(file, n_bytes)
    file.seek(0)


def _check_chunks(file: BinaryIO, n_bytes: int, *, order: str, data: bytes) -> None:
    """Checks the chunk named `data`, the samples; a chunk is a name, a 32-bit size and content.

    The content is padded to an even length.
    """
    at, long_size = 12, None
    while at + 8 <= n_bytes:
        file.seek(at)
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        if name == b"ds64" and size >= 16:
            long_size = struct.unpack("<8xQ", file.read(16))[0]
        if name == data:
            if size == 0xFFFFFFFF and long_size is not None:
                size = long_size
            _check_size(at + 8, size, n_bytes)
            return
        at += 8 + size + size % 2


def _check_w64(file: BinaryIO, n_bytes: int) -> None:
    """Checks the samples of a W64 file.

    Names have 16 bytes, sizes 64 bits and include the header, and chunks start at multiples of 8.
    """
    at = 40
    while at + 24 <= n_bytes:
        file.seek(at)
        name, size = struct.unpack("<16sQ", file.read(24))
        if name == _W64_DATA:
            _check_size(at + 24, size - 24, n_bytes)
            return
        at += max(24, -(-size // 8) * 8)


def _check_size(start: int, size: int, n_bytes: int) -> None:
    if size not in _UNKNOWN_SIZES and start + size > n_bytes:
        raise AudioError(
            f"truncated: the header promises {size} bytes of samples, the file has "
            f"{max(0, n_bytes - start)}",
            remedy=_REMEDY,
        )


def _check_ogg(file: BinaryIO, n_bytes: int) -> None:
    """Checks that pages are numbered without gaps and that every stream has its last page."""
    at, pages = 0, 0
    next_page: dict[int, int] = {}
    ended: dict[int, bool] = {}
    while at < n_bytes:
        file.seek(at)
        header = file.read(27)
        if len(header) < 27 or header[:4] != b"OggS":
            raise AudioError(
                f"damaged: wanted an Ogg page at byte {at}, got other bytes", remedy=_REMEDY
            )
        stream, number = struct.unpack("<II", header[14:22])
        if number != next_page.get(stream, number):
            raise AudioError(
                f"damaged: page {number} follows page {next_page[stream] - 1}; the pages between "
                "them are missing",
                remedy=_REMEDY,
            )
        next_page[stream] = number + 1
        ended[stream] = bool(header[5] & _END_OF_STREAM)
        lacing = file.read(header[26])
        at += 27 + header[26] + sum(lacing)
        pages += 1
    if at > n_bytes or not all(ended.values()):
        raise AudioError(
            f"truncated: its last page, number {pages}, is not its end", remedy=_REMEDY
        )
