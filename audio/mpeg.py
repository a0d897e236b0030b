"""The frames of an MPEG audio file (MP3, MP2, MP1), found by their headers.

Nothing in such a file says reliably how long it is. A Xing or VBRI header promises a number of
frames, but it is missing in streams, and wrong in files that were cut or joined. So the headers of
all frames are read, which takes some hundredths of the time for decoding them.

    | ID3 | Xing | frame | frame | damage | frame | ID3 | Xing | frame | frame | TAG |
                 +---- one part ----------------+ +------- the next, if its rate differs

References:
  ISO/IEC 11172-3, 1993, and 13818-3, 1998: headers. Id3.org, "ID3v2.4", 2000: size of a tag.
  Windszus, "MPEG Audio Frame Header", 2007: the headers of Xing and Fraunhofer (VBRI).
"""

from __future__ import annotations

import dataclasses
import functools
import os
import struct
from typing import BinaryIO, NamedTuple

from audio.spliced_file import Piece

# Kilobits per second by the four bits in a header, of MPEG-1 (layers I, II, III) and of MPEG-2.
_BIT_RATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = (44100, 48000, 32000)
# What a sample rate is divided by: MPEG-2.5 (a number that is reserved is left out), 2 and 1.
_DIVISORS = {0: 4, 2: 2, 3: 1}
# Bits of a header that are the same in all frames: sync, version, layer and sample rate.
_KEPT_BITS = 0xFFFE0C00
# Bytes that are read at a time.
_BLOCK = 1 << 16
# A stream that was recorded may begin and end within a frame, of at most so many bytes.
_LARGEST_FRAME = 4608
# In a Xing header: the flags that say that it has the number of frames and of bytes, and where LAME
# writes the encoder's delay and padding, two numbers of 12 bits.
_HAS_FRAMES, _HAS_BYTES = 1, 2
_LAME_DELAYS = 141
# Where Fraunhofer's header begins in its frame.
_VBRI = 36
_ID3V1_BYTES = 128
# Bytes in which the first frames must begin.
_SEARCH = 1 << 20
# Frames in a row that are taken for MPEG audio, and not for other bytes that look like a header.
_CONVINCING = 3


class Frame(NamedTuple):
    """What the header of a frame says.

    Attributes:
      kind: Number that is equal in all frames that can be decoded one after the other.
      n_bytes: Size of the frame with its header.
      n_samples: Samples per channel.
      layer: 1, 2 or 3.
      tag_offset: Where a Xing header begins in the frame.
    """

    kind: int
    n_bytes: int
    n_samples: int
    layer: int
    tag_offset: int


@functools.lru_cache(1 << 12)
def parse_frame(header: bytes) -> Frame | None:
    """Returns what the four bytes of a frame's header say; None if they are not a header."""
    if len(header) < 4:
        return None
    (bits,) = struct.unpack(">I", header)
    version, layer = bits >> 19 & 3, 4 - (bits >> 17 & 3)
    rate, bit_rate = bits >> 10 & 3, bits >> 12 & 15
    if bits >> 21 != 0x7FF or version == 1 or layer == 4 or rate == 3 or bit_rate in (0, 15):
        return None
    is_first, is_mono = version == 3, bits >> 6 & 3 == 3
    sample_rate = _SAMPLE_RATES[rate] // _DIVISORS[version]
    bits_per_second = _BIT_RATES[is_first, layer][bit_rate] * 1000
    padding = bits >> 9 & 1
    n_samples = {1: 384, 2: 1152, 3: 1152 if is_first else 576}[layer]
    if layer == 1:
        n_bytes = (12 * bits_per_second // sample_rate + padding) * 4
    else:
        n_bytes = n_samples // 8 * bits_per_second // sample_rate + padding
    tag_offset = 4 + (17 if is_first == is_mono else 32 if is_first else 9)
    return Frame(bits & _KEPT_BITS | is_mono, n_bytes, n_samples, layer, tag_offset)


@dataclasses.dataclass
class Part:
    """Frames that can be decoded one after the other.

    Attributes:
      header: Header of the first frame, four bytes.
      ranges: Where the frames are in the file: positions of their first byte and past their last.
      n_frames: Number of frames.
      gaps: Sizes of what is between these frames and is neither frames nor tags, bytes.
      dropped_frames: Number of frames that were left out because they are not whole.
      tag: Frame with a Xing header, which is before the first frame; empty if there is none.
      promised_frames: Number of frames by the header of Xing or VBRI; 0 if there is none.
    """

    header: bytes
    ranges: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    n_frames: int = 0
    gaps: list[int] = dataclasses.field(default_factory=list)
    dropped_frames: int = 0
    tag: bytes = b""
    promised_frames: int = 0

    @property
    def first(self) -> Frame:
        """What the first frame's header says."""
        frame = parse_frame(self.header)
        assert frame is not None
        return frame

    @property
    def n_samples(self) -> int:
        """Number of samples per channel in all frames."""
        return self.n_frames * self.first.n_samples

    @property
    def n_bytes(self) -> int:
        """Number of bytes of all frames."""
        return sum(end - start for start, end in self.ranges)

    @property
    def lost_frames(self) -> float:
        """About how many frames are missing between the first and the last."""
        frame_bytes = self.n_bytes / self.n_frames
        return self.dropped_frames + sum(max(1.0, gap / frame_bytes) for gap in self.gaps)

    def add(self, start: int, end: int) -> None:
        """Adds the frame between two positions."""
        if self.ranges and self.ranges[-1][1] == start:
            start = self.ranges.pop()[0]
        self.ranges.append((start, end))
        self.n_frames += 1

    def drop_last(self, n_bytes: int) -> None:
        """Removes the last frame, which has so many bytes."""
        start, end = self.ranges.pop()
        if end - n_bytes > start:
            self.ranges.append((start, end - n_bytes))
        self.n_frames -= 1
        self.dropped_frames += 1

    def pieces(self) -> list[Piece]:
        """Returns the pieces of a file that has these frames, and before them says how many.

        libmpg123 stops after the number of frames in a Xing header. Without one it estimates the
        number by the size of the file and of the first frame. Layers I and II have no such header,
        so zeros at the end, which are never decoded, make the estimate large enough.
        """
        if self.first.layer == 3:
            return [self._tag_frame(), *self.ranges]
        missing = 2 * self.n_frames * self.first.n_bytes - self.n_bytes
        return [*self.ranges, bytes(max(0, missing))]

    def _tag_frame(self) -> bytes:
        """Returns a frame with a Xing header that has the true number of frames."""
        offset = self.first.tag_offset
        if self.tag:
            frame = bytearray(self.tag)
            offset = _find_tag(self.tag, self.first)
            # The encoder's padding is at the end of the frames that it wrote.
            padding = offset + _LAME_DELAYS + 1
            if self.promised_frames != self.n_frames and len(frame) > padding + 2:
                frame[padding] &= 0xF0
                frame[padding + 1] = 0
        else:  # the largest frame, without a checksum, padding and sound
            first = bytes((0xFF, self.header[1] | 1, self.header[2] & 0x0C | 0xE0, self.header[3]))
            largest = parse_frame(first)
            assert largest is not None
            frame = bytearray(first + bytes(largest.n_bytes - 4))
            frame[offset : offset + 8] = b"Xing" + struct.pack(">I", _HAS_FRAMES)
        frame[offset + 8 : offset + 12] = struct.pack(">I", self.n_frames)
        if self.tag and frame[offset + 7] & _HAS_BYTES:
            n_bytes = min(len(frame) + self.n_bytes, 0xFFFFFFFF)
            frame[offset + 12 : offset + 16] = struct.pack(">I", n_bytes)
        return bytes(frame)


def find_parts(file: BinaryIO, start: int = 0) -> list[Part]:
    """Returns the frames of a file from a position on; nothing if it is not MPEG audio.

    There is more than one part if the sample rate or the number of channels changes.
    """
    headers = _Headers(file)
    parts: list[Part] = []
    at, last = start, None
    while at < headers.n_bytes:
        frame = headers.frame(at)
        if frame and last and frame.kind == last.kind:
            if at + frame.n_bytes > headers.n_bytes:
                break  # the file ends within its last frame
            parts[-1].add(at, at + frame.n_bytes)
            at, last = at + frame.n_bytes, frame
        elif n_bytes := headers.tag_bytes(at):
            at += n_bytes
        elif frame and headers.count_frames(at, frame) == _CONVINCING:
            parts.append(Part(header=headers.read(at, 4)))
            at, last = at + _read_tag(headers, at, frame, parts[-1]), frame
        else:
            at = _resume(headers, at, last, parts)
    return [part for part in parts if part.n_frames]


def _resume(headers: _Headers, at: int, last: Frame | None, parts: list[Part]) -> int:
    """Returns where frames go on after other bytes, which are counted as lost if they are many.

    Bytes may have been removed from the last frame. Then the next one begins before its end.
    """
    begin = at
    if last and parts[-1].ranges and parts[-1].ranges[-1][1] == at:
        begin = at - last.n_bytes + 4
    found = headers.find_frames(begin, last)
    if last and found < at:
        parts[-1].drop_last(last.n_bytes)
    elif parts and (found < headers.n_bytes or found - at > _LARGEST_FRAME):
        parts[-1].gaps.append(found - at)
    return found


def _read_tag(headers: _Headers, at: int, frame: Frame, part: Part) -> int:
    """Reads the header of Xing or VBRI from a part's first frame; returns its size, 0 if none."""
    content = headers.read(at, frame.n_bytes)
    offset = _find_tag(content, frame)
    if offset and len(content) >= offset + 12:
        flags, n_frames = struct.unpack(">II", content[offset + 4 : offset + 12])
        if flags & _HAS_FRAMES:
            part.tag, part.promised_frames = content, n_frames
        return frame.n_bytes
    if content[_VBRI : _VBRI + 4] == b"VBRI" and len(content) >= _VBRI + 18:
        (part.promised_frames,) = struct.unpack(">I", content[_VBRI + 14 : _VBRI + 18])
        return frame.n_bytes
    return 0


def _find_tag(content: bytes, frame: Frame) -> int:
    """Returns where a Xing header begins in a frame; 0 if there is none."""
    for offset in (frame.tag_offset, frame.tag_offset + 2):  # without or with a checksum
        if frame.layer == 3 and content[offset : offset + 4] in (b"Xing", b"Info"):
            return offset
    return 0


class _Headers:
    """Reads headers at positions of a file, which is read in large blocks."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.n_bytes = file.seek(0, os.SEEK_END)
        self._block, self._start = b"", 0

    def read(self, at: int, n_bytes: int) -> bytes:
        """Returns so many bytes at a position, fewer at the end of the file."""
        offset = at - self._start
        if offset < 0 or offset + n_bytes > len(self._block):
            self._file.seek(at)
            self._block, self._start, offset = self._file.read(max(_BLOCK, n_bytes)), at, 0
        return self._block[offset : offset + n_bytes]

    def frame(self, at: int) -> Frame | None:
        """Returns the frame whose header is at a position; None if there is none."""
        return parse_frame(self.read(at, 4))

    def count_frames(self, at: int, frame: Frame | None) -> int:
        """Returns how many frames of one kind follow each other, at most _CONVINCING.

        Frames that reach the end of the file exactly are convincing, however few they are.
        """
        kind, count = frame and frame.kind, 0
        while frame and frame.kind == kind and count < _CONVINCING:
            at, count = at + frame.n_bytes, count + 1
            if at == self.n_bytes or self.tag_bytes(at):
                return _CONVINCING
            frame = self.frame(at)
        return count

    def find_frames(self, at: int, last: Frame | None) -> int:
        """Returns where frames begin from a position on; the end of the file if there are none.

        Two frames in a row are enough if they are of the last frame's kind.
        """
        end = self.n_bytes if last else min(self.n_bytes, at + _SEARCH)
        while at < end:
            block = self.read(at, _BLOCK)
            offset = block.find(b"\xff")
            while offset >= 0:
                # A header at the end of the block is read from the file.
                header = block[offset : offset + 4]
                frame = parse_frame(header) if len(header) == 4 else self.frame(at + offset)
                enough = 2 if last and frame and frame.kind == last.kind else _CONVINCING
                if frame and self.count_frames(at + offset, frame) >= enough:
                    return at + offset
                offset = block.find(b"\xff", offset + 1)
            at += _BLOCK
        return self.n_bytes

    def tag_bytes(self, at: int) -> int:
        """Returns the size of a tag (ID3 or APE) at a position; 0 if there is none."""
        head = self.read(at, 16)
        if n_bytes := id3_bytes(head):
            return n_bytes
        if head[:3] == b"TAG":
            return _ID3V1_BYTES
        if head[:8] == b"APETAGEX" and len(head) == 16:
            return 32 + int(struct.unpack("<I", head[12:16])[0])
        return 0


def id3_bytes(head: bytes) -> int:
    """Returns the size of the ID3v2 tag whose first ten bytes are given; 0 if they are not one."""
    if head[:3] != b"ID3" or len(head) < 10 or max(head[6:10]) >= 0x80:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)
