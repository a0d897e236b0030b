"""The format of a file by its first bytes, all of those that tell formats apart.

Many formats share their first four bytes: RIFF is also a WebP picture or an AVI film, FORM also a
picture, OggS also a film. Two bytes of an MPEG frame begin every text in UTF-16. So the type of a
container is read as well, and of formats without a container two frames in a row.
"""

from __future__ import annotations

import enum
import os
from typing import BinaryIO

from audio import mpeg, ogg

_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"


class Format(enum.Enum):
    """A format of files with sound; the value is its name for messages."""

    WAV = "WAV"
    W64 = "W64"
    AIFF = "AIFF"
    SVX = "8SVX"
    AU = "AU"
    CAF = "CAF"
    FLAC = "FLAC"
    OGG = "Ogg"
    MPEG = "MP3"
    ADTS = "AAC"
    MP4 = "MP4"
    MATROSKA = "Matroska"
    WAVPACK = "WavPack"
    TTA = "TTA"
    AC3 = "AC-3"


# What libsndfile does not read.
FOREIGN = frozenset(
    {Format.ADTS, Format.MP4, Format.MATROSKA, Format.WAVPACK, Format.TTA, Format.AC3}
)
_BY_NAME = frozenset({Format.MATROSKA, Format.WAVPACK, Format.TTA, Format.AC3})
# Frames in a row that are not by chance.
_CONVINCING = 2
_MAGIC = {
    b"fLaC": Format.FLAC,
    b"OggS": Format.OGG,
    b".snd": Format.AU,
    b"dns.": Format.AU,
    b"caff": Format.CAF,
    b"\x1aE\xdf\xa3": Format.MATROSKA,
    b"wvpk": Format.WAVPACK,
    b"TTA1": Format.TTA,
}
_FORMS = {b"AIFF": Format.AIFF, b"AIFC": Format.AIFF, b"8SVX": Format.SVX, b"16SV": Format.SVX}


def find_format(file: BinaryIO) -> tuple[Format | None, int]:
    """Returns the format of a seekable file, None if it is unknown, and where it begins.

    ID3 tags are before the beginning, whatever the format.
    """
    start = 0
    while True:
        file.seek(start)
        head = file.read(16)
        n_bytes = mpeg.id3_bytes(head)
        if not n_bytes:
            return _format_of(file, start, head), start
        start += n_bytes


def is_certainly_audio(file: BinaryIO) -> bool:
    """Returns whether a file's content alone, without its name, says that it is sound.

    An MP4 file may be a film; its brand says whether it is not. Those in _BY_NAME may be films as
    well, begin with too few bytes that are always the same, or need a decoder that may be missing.
    """
    found, start = find_format(file)
    if found is Format.MP4:
        file.seek(start)
        return file.read(12)[4:11] in (b"ftypM4A", b"ftypM4B")
    if found is Format.OGG:
        return ogg.starts_with_sound(file)
    return found is not None and found not in _BY_NAME


def _format_of(file: BinaryIO, start: int, head: bytes) -> Format | None:
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return Format.WAV if head[8:12] == b"WAVE" else None
    if head[:4] == b"FORM":
        return _FORMS.get(head[8:12])
    if head == _W64:
        return Format.W64
    if head[4:8] == b"ftyp":
        return Format.MP4
    if head[:2] == b"\x0bw":
        return Format.AC3
    if head[:1] == b"\xff":
        return _frames_of(file, start, head)
    return _MAGIC.get(head[:4])


def _frames_of(file: BinaryIO, start: int, head: bytes) -> Format | None:
    """Returns the format of frames that follow each other without a container."""
    n_bytes = file.seek(0, os.SEEK_END)
    for found, frame_bytes in ((Format.MPEG, _mpeg_bytes), (Format.ADTS, _adts_bytes)):
        at, size, count = start, frame_bytes(head), 0
        while size and count < _CONVINCING:
            at, count = at + size, count + 1
            if at == n_bytes:
                return found
            file.seek(at)
            size = frame_bytes(file.read(16))
        if count == _CONVINCING:
            return found
    return None


def _mpeg_bytes(head: bytes) -> int:
    frame = mpeg.parse_frame(head[:4])
    return frame.n_bytes if frame else 0


def _adts_bytes(head: bytes) -> int:
    """Returns the size of the frame of ADTS that begins with these bytes; 0 if there is none."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size > 7 else 0
