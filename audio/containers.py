"""Where the sound is in a file, how much of it the container promises, and what is missing.

A length in a header may be right, an estimate, or a number that a writer left which could not seek
back. libsndfile believes all of them, and reports no damage. So the headers are read here first:

    WAV, AIFF, AU, CAF, W64, 8SVX   the size of the samples: a true one, or one that means unknown
    Ogg (audio/ogg.py)              the sequence and checksums of pages, and links of a chain
    MP3 (audio/mpeg.py)             the headers of all frames

The decoder then gets files whose headers are true, in which sound goes on to the end.

References:
  Microsoft, "Multimedia Programming Interface and Data Specifications 1.0", 1991: RIFF.
  EBU Tech 3306, "RF64", 2009. Apple, "AIFF 1.3", 1989, and "Core Audio Format", 2011.
  Sonic Foundry, "Wave-64", 2003. EA, "IFF 85" and "8SVX", 1985.
"""

from __future__ import annotations

import dataclasses
import math
import os
import struct
from collections.abc import Callable, Iterable
from typing import BinaryIO, NamedTuple, cast

from audio import flac, mpeg, ogg
from audio.errors import AudioError
from audio.formats import Format
from audio.spliced_file import Piece, SplicedFile

_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
# Writers that cannot seek back leave a size near one of these, above or below it.
_PLACEHOLDERS = (1 << 31, 1 << 32, 1 << 63, 1 << 64)
_NEAR = 1 << 17
# Samples that a complete file may lack of what its header promises. MP3 headers count frames that
# decoders skip: the three files of Debian's asc-music are complete, and short by 5 to 8 frames.
_MP3_FRAMES = 12
# Bytes that libFLAC may have read ahead of what it decodes.
_FLAC_AHEAD = 1 << 14
# Samples that an encoder may cut from the end of an Ogg stream, or its decoder from the start.
_OGG_TOLERANCE = 8192


class Part(NamedTuple):
    """A file for the decoder.

    Attributes:
      file: The file, which ends with its sound.
      expected: Samples per channel that the decoder must give; 0 if nobody can know.
      tolerance: How many of these may be missing.
      rate: Sample rate of `expected`, Hz; 0 is that of the decoder.
      limit: Samples per channel after which reading stops; None is where the decoder stops.
      rest_after: Given the number of samples that were decoded of this part when the decoder came
        to its end or gave up, returns the part that follows, and how many samples are missing
        before it; None if nothing follows.
    """

    file: BinaryIO
    expected: float = 0.0
    tolerance: float = 0.0
    rate: int = 0
    limit: int | None = None
    rest_after: Callable[[int], tuple[Part, int] | None] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """What of a file is decoded.

    Attributes:
      parts: Files to decode, one after the other.
      lost_share: About which share of the sound is missing; 1 if it is cut off and nobody can know
        how much is missing.
      fault: What is wrong with the file, for a message; empty if nothing is.
    """

    parts: tuple[Part, ...]
    lost_share: float = 0.0
    fault: str = ""

    def lost_samples(self, n_samples: int) -> float:
        """Returns about how many samples are missing if so many were decoded."""
        if self.lost_share >= 1:
            return math.inf
        return n_samples * self.lost_share / (1 - self.lost_share)


def find_sound(file: BinaryIO, found: Format | None, start: int = 0) -> Layout:
    """Returns what of a seekable file is to be decoded.

    Args:
      file: The file.
      found: Its format.
      start: Where it begins, after any ID3 tags.

    Raises:
      AudioError: There is nothing to decode.
    """
    n_bytes = file.seek(0, os.SEEK_END)
    if found is Format.OGG:
        return _ogg_layout(file, n_bytes)
    if found is Format.MPEG or found is None:
        layout = _mpeg_layout(file, start)
        if layout:
            return layout
    if found is Format.FLAC:
        return _flac_layout(file, start, n_bytes)
    if start:
        file, n_bytes = _splice(file, [(start, n_bytes)]), n_bytes - start
    size = _find_size(file, found, n_bytes) if found else None
    file.seek(0)
    return _sized_layout(file, size, n_bytes) if size else Layout(parts=(Part(file),))


class _Size(NamedTuple):
    """What a container says of the size of its samples.

    Attributes:
      start: Position of the first sample.
      declared: Number of bytes from there on that the container declares.
      field: Position of the field that says so.
      form: Its struct format.
      extra: What the field counts in addition, bytes.
      chunks: Whether other chunks may follow.
      order: Byte order of chunks, for struct.
    """

    start: int
    declared: int
    field: int
    form: str
    extra: int = 0
    chunks: bool = True
    order: str = "<"


def _find_size(file: BinaryIO, found: Format, n_bytes: int) -> _Size | None:
    file.seek(0)
    head = file.read(16)
    if found is Format.WAV:
        order = ">" if head[:4] == b"RIFX" else "<"
        return _chunk_size(file, n_bytes, order=order, data=b"data")
    if found in (Format.AIFF, Format.SVX):
        data = b"SSND" if found is Format.AIFF else b"BODY"
        return _chunk_size(file, n_bytes, order=">", data=data)
    if found is Format.AU and len(head) == 16:
        order = ">" if head[:1] == b"." else "<"
        start, size = struct.unpack(order + "II", head[4:12])
        return _Size(start, size, 8, order + "I", chunks=False)
    if found is Format.CAF:
        return _caf_size(file, n_bytes)
    if found is Format.W64:
        return _w64_size(file, n_bytes)
    return None


def _chunk_size(file: BinaryIO, n_bytes: int, *, order: str, data: bytes) -> _Size | None:
    """Returns the size of the chunk `data` of a file of chunks.

    A chunk is a name, a 32-bit size and content, padded to an even length. In RF64, the chunk ds64
    has the 64-bit size of the samples if the other one is all ones.
    """
    at, long_at = 12, 0
    while at + 8 <= n_bytes:
        file.seek(at)
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        if name == b"ds64" and size >= 16:
            long_at = at + 16
        if name == data and size == 0xFFFFFFFF and long_at:
            file.seek(long_at)
            (size,) = struct.unpack("<Q", file.read(8))
            return _Size(at + 8, size, long_at, "<Q")
        if name == data:
            return _Size(at + 8, size, at + 4, order + "I", order=order)
        at += 8 + size + size % 2
    return None


def _caf_size(file: BinaryIO, n_bytes: int) -> _Size | None:
    """Returns the size of the samples of a CAF file, whose sizes have 64 bits; -1 is unknown."""
    at = 8
    while at + 12 <= n_bytes:
        file.seek(at)
        name, size = struct.unpack(">4sq", file.read(12))
        if name == b"data":
            return _Size(at + 12, size % (1 << 64), at + 4, ">Q")
        if size < 0:
            return None
        at += 12 + size
    return None


def _w64_size(file: BinaryIO, n_bytes: int) -> _Size | None:
    """Returns the size of the samples of a W64 file.

    Names have 16 bytes, sizes 64 bits and include the header, and chunks start at multiples of 8.
    """
    at = 40
    while at + 24 <= n_bytes:
        file.seek(at)
        name, size = struct.unpack("<16sQ", file.read(24))
        if name == _W64_DATA:
            return _Size(at + 24, max(0, size - 24), at + 16, "<Q", extra=24)
        at += max(24, -(-size // 8) * 8)
    return None


def _sized_layout(file: BinaryIO, size: _Size, n_bytes: int) -> Layout:
    """Returns the file, with the true size of its samples in the header."""
    available = max(0, n_bytes - size.start)
    declared = size.declared
    if not size.chunks and declared < available:
        declared = available  # nothing else can follow
    elif declared == 0 and available and not _only_chunks(file, size, n_bytes):
        declared = available
    elif declared <= available:
        return Layout(parts=(Part(file),))
    field = struct.pack(size.form, (available + size.extra) % (1 << 8 * struct.calcsize(size.form)))
    end = size.field + len(field)
    true = _splice(file, [(0, size.field), field, (end, n_bytes)])
    if declared == available or any(abs(declared - number) <= _NEAR for number in _PLACEHOLDERS):
        return Layout(parts=(Part(true),))
    return Layout(
        parts=(Part(true),),
        lost_share=1 - available / declared,
        fault=f"truncated: the header promises {declared} bytes of samples, the file has "
        f"{available}",
    )


def _only_chunks(file: BinaryIO, size: _Size, n_bytes: int) -> bool:
    """Returns whether chunks, and nothing else, follow samples of the size 0."""
    at = size.start
    while at + 8 <= n_bytes:
        file.seek(at)
        name, length = struct.unpack(f"{size.order}4sI", file.read(8))
        if not all(0x20 <= value < 0x7F for value in name):
            return False
        at += 8 + length + length % 2
    return n_bytes <= at <= n_bytes + 1


def _flac_layout(file: BinaryIO, start: int, n_bytes: int) -> Layout:
    """Returns a FLAC file whose header declares no length, because libsndfile would stop there.

    The number of samples is in 36 bits, which end with byte 25.
    """
    file.seek(start)
    head = file.read(42)
    if len(head) < 42:
        return Layout(parts=(Part(file),))
    declared = (head[21] & 15) << 32 | int.from_bytes(head[22:26], "big")
    head = head[:21] + bytes([head[21] & 0xF0]) + bytes(4) + head[26:]
    part = _flac_part(file, head, begin=start + len(head), end=n_bytes)
    return Layout(parts=(part._replace(expected=declared),))


def _flac_part(
    file: BinaryIO, head: bytes, *, begin: int, end: int, first: flac.Frame | None = None
) -> Part:
    """Returns a FLAC file, from a frame on, as a part that libsndfile may give up within.

    | head | frames that are decoded | damage   | frames that are decoded next | end
           begin                        given up                                end

    Args:
      file: The whole file.
      head: The header of the part.
      begin: Position of what follows it.
      end: Position past the last byte.
      first: The frame at `begin`; None at the start of the file.
    """
    spliced = _splice(file, [head, (begin, end)])

    def rest_after(n_samples: int) -> tuple[Part, int] | None:
        sample = (first.first_sample if first else 0) + n_samples
        read_to = begin + spliced.tell() - len(head)
        smallest, largest = struct.unpack(">HH", head[8:12])
        at, before = begin + bool(first), 0
        if n_samples:
            at = max(at, read_to - _FLAC_AHEAD)
        while frame := flac.find_frame(file, at, largest if smallest == largest else 0):
            # In files that were joined, numbers begin again.
            begins_again = frame.first_sample < before
            if frame.first_sample >= sample or begins_again or frame.at >= min(read_to, end):
                break
            at, before = frame.at + 1, frame.first_sample
        if not frame or frame.at >= end:
            return None
        # The flag says that no more metadata follow.
        only = head[:4] + bytes([head[4] | 0x80]) + head[5:42]
        rest = _flac_part(file, only, begin=frame.at, end=end, first=frame)
        return rest, max(0, frame.first_sample - sample)

    return Part(spliced, rest_after=rest_after)


def _mpeg_layout(file: BinaryIO, start: int) -> Layout | None:
    """Returns the frames of an MPEG file; None if it has none."""
    parts = mpeg.find_parts(file, start)
    if not parts:
        return None
    found = sum(part.n_frames for part in parts)
    lost = sum(part.lost_frames for part in parts)
    promised = parts[0].promised_frames
    faults = [f"damaged: about {math.ceil(lost)} of its frames are lost"] if lost else []
    if promised - found > (0 if lost else max(_MP3_FRAMES, promised / 200)):
        lost = max(lost, promised - found)
        kind = "damaged" if faults else "truncated"
        faults = [f"{kind}: the header promises {promised} frames, the file has {found}"]
    file.seek(0)
    first = parts[0]
    # A file that is as its header says is decoded as it is.
    whole = len(parts) == len(first.ranges) == 1 and first.tag and promised == found
    return Layout(
        parts=tuple(
            Part(
                file if whole else _splice(file, part.pieces()),
                expected=part.n_samples,
                tolerance=3 * part.first.n_samples,
                limit=None if part.first.layer == 3 else part.n_samples,
            )
            for part in parts
        ),
        lost_share=lost / (lost + found),
        fault="".join(faults),
    )


def _ogg_layout(file: BinaryIO, n_bytes: int) -> Layout:
    """Returns the links of an Ogg file."""
    links = ogg.find_links(file)
    if not links:
        raise AudioError(
            "no stream of Vorbis, Opus, FLAC or Speex in it",
            remedy="Copy or download the file again, or remove it.",
        )
    # Of other links, the decoder's number of samples tells what is missing. That of FLAC does not,
    # because libFLAC puts silence in place of missing frames.
    told = [link for link in links if link.joined_late or link.is_flac]
    lost, total = sum(link.lost for link in told), sum(link.granule for link in links)
    n_missing = sum(link.n_missing for link in links)
    faults = [f"damaged: {n_missing} of its pages are lost"] if n_missing else []
    lost_share = lost / max(1, total)
    if not links[-1].ended:
        lost_share = 1.0
        faults = [f"truncated: its last page, number {links[-1].last.number}, is not its end"]
    file.seek(0)
    whole = len(links) == 1 and links[0].pages == [(0, n_bytes)]
    return Layout(
        parts=tuple(_link_part(file, link, whole=whole) for link in links),
        lost_share=lost_share,
        fault="".join(faults),
    )


def _link_part(file: BinaryIO, link: ogg.Link, *, whole: bool) -> Part:
    """Returns one stream alone; FLAC as a file of its own kind, as libsndfile wants."""
    part = Part(file if whole else _splice(file, link.pages))
    if link.is_flac:
        alone = _splice(file, link.flac_pieces())
        part = _flac_layout(alone, 0, alone.seek(0, os.SEEK_END)).parts[0]
    tolerance = 0 if link.n_missing else _OGG_TOLERANCE
    return part._replace(expected=link.n_samples, tolerance=tolerance, rate=link.rate)


def _splice(file: BinaryIO, pieces: Iterable[Piece]) -> BinaryIO:
    return cast(BinaryIO, SplicedFile(file, pieces))
