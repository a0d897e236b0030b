"""The pages of an Ogg file, the streams that they belong to, and what is missing between them.

libsndfile decodes the first stream of a file and passes over damaged pages in silence. So the
pages are read here, with their checksums, and each link of a chain is decoded alone.

    | header pages | pages | last page | header pages | pages | damage | pages | last page |
    +---- first link ------------------+---- second link ----------------------------------+

References:
  RFC 3533, "The Ogg encapsulation format"; RFC 7845, "Ogg encapsulation for Opus".
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from typing import BinaryIO, NamedTuple

# Flags in the header of a page.
_FIRST, _LAST = 2, 4
# How the first page of a stream of sound begins, after the page's header.
_FLAC = b"\x7fFLAC"
_CODECS = (b"\x01vorbis", b"OpusHead", _FLAC, b"Speex   ")
# Where a FLAC file begins in the first page of a stream of FLAC.
_FLAC_START = 9
# Each byte with its bits in reverse order.
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_BLOCK = 1 << 16
# A recorded broadcast has the header pages, and then those from when the recording began: so many
# pages are missing at least, and no bytes are between.
_JOINED_LATE = 16


class Page(NamedTuple):
    """One page.

    Attributes:
      at: Position in the file.
      content: Position of its content.
      end: Position past its last byte.
      flags: Of the header.
      granule: Number of samples up to its end, at the codec's rate; -1 if no packet ends in it.
      stream: Number of the stream.
      number: Number of the page in its stream.
      codec: The entry of _CODECS that its content begins with; empty if it is another.
    """

    at: int
    content: int
    end: int
    flags: int
    granule: int
    stream: int
    number: int
    codec: bytes


@dataclasses.dataclass
class Link:
    """One stream of sound.

    Attributes:
      codec: How its first page begins.
      last: Its last page so far.
      pages: Where its pages are in the file: positions of the first byte and past the last.
      contents: The same for the contents of its pages.
      first_granule: Number of samples up to the first page of sound; -1 before it.
      granule: Number of samples up to the last page so far.
      joined_late: Whether it is a broadcast that was recorded from some moment on.
      lost: About how many samples are missing in the middle, by the pages that are missing.
      n_missing: Number of pages that are missing in the middle.
    """

    codec: bytes
    last: Page
    pages: list[tuple[int, int]]
    contents: list[tuple[int, int]]
    first_granule: int = -1
    granule: int = 0
    joined_late: bool = False
    lost: float = 0.0
    n_missing: int = 0
    # Since the last page with a number of samples: pages that are there, and that are missing.
    _present: int = 0
    _absent: int = 0

    def add(self, page: Page) -> None:
        """Adds a page of this stream."""
        missing = max(0, page.number - self.last.number - 1)
        contiguous = page.at == self.pages[-1][1]
        if self.first_granule < 0 and contiguous and missing > _JOINED_LATE:
            missing, self.joined_late = 0, True
        self.n_missing += missing
        self._present, self._absent = self._present + 1, self._absent + missing
        if page.granule > 0:
            share = self._absent / (self._present + self._absent)
            self.lost += max(0, page.granule - self.granule) * share
            self._present = self._absent = 0
            self.granule = page.granule
            if self.first_granule < 0:
                self.first_granule = page.granule
        start = self.pages.pop()[0] if contiguous else page.at
        self.pages.append((start, page.end))
        self.contents.append((page.content, page.end))
        self.last = page

    @property
    def ended(self) -> bool:
        """Whether its last page is there."""
        return bool(self.last.flags & _LAST)

    @property
    def rate(self) -> int:
        """Rate at which samples are counted, Hz; 0 is the stream's own."""
        return 48000 if self.codec == b"OpusHead" else 0

    @property
    def is_flac(self) -> bool:
        """Whether its sound is FLAC."""
        return self.codec == _FLAC

    @property
    def n_samples(self) -> int:
        """Number of samples that it must have, at the codec's rate.

        A broadcast may begin at any number. So what is before the first page that tells a number
        is only counted if pages are known to be missing.
        """
        if self.n_missing and not self.joined_late:
            return self.granule
        return max(0, self.granule - self.first_granule)

    def flac_pieces(self) -> list[tuple[int, int]]:
        """Returns the pieces of a FLAC file with the sound of a stream of FLAC.

        They are the contents of the pages, without what the first one has before its "fLaC".
        """
        (start, end), *others = self.contents
        return [(start + _FLAC_START, end), *others]


def find_links(file: BinaryIO) -> list[Link]:
    """Returns the streams of sound that a file has one after the other.

    Of streams at the same time, such as sound and picture, the first one of sound is taken.
    """
    links: list[Link] = []
    in_headers = False  # several streams may begin, before any goes on
    at = 0
    while page := _next_page(file, at):
        at = page.end
        if page.flags & _FIRST:
            if page.codec and not (in_headers and links):
                links.append(Link(page.codec, page, [(page.at, at)], [(page.content, at)]))
            in_headers = in_headers or bool(page.codec)
        elif links:
            in_headers = False
            if page.stream == links[-1].last.stream:
                links[-1].add(page)
    return links


def _next_page(file: BinaryIO, at: int) -> Page | None:
    """Returns the first whole page from a position on; None if there is none."""
    while True:
        file.seek(at)
        head = file.read(27)
        if head[:4] == b"OggS" and len(head) == 27:
            page = _read_page(file, at, head)
            if page:
                return page
        if len(head) < 4:
            return None
        at = _find(file, at + 1)
        if at < 0:
            return None


def _read_page(file: BinaryIO, at: int, head: bytes) -> Page | None:
    """Returns the page whose header is given; None if it is cut short or damaged."""
    lacing = file.read(head[26])
    content = file.read(sum(lacing))
    if len(lacing) < head[26] or len(content) < sum(lacing):
        return None
    flags, granule, stream, number, checksum = struct.unpack("<5xBqIII", head[:26])
    if _checksum(head[:22] + bytes(4) + head[26:] + lacing + content) != checksum:
        return None
    codec = next((codec for codec in _CODECS if content.startswith(codec)), b"")
    start = at + 27 + len(lacing)
    return Page(at, start, start + len(content), flags, granule, stream, number, codec)


def _checksum(content: bytes) -> int:
    """Returns the checksum of a page.

    It is zlib's with the bits of each byte in the other order, and without inverting at the start
    and at the end.
    """
    value = zlib.crc32(content.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(value.to_bytes(4, "little").translate(_REVERSED), "big")


def _find(file: BinaryIO, at: int) -> int:
    """Returns where the next page may begin from a position on; -1 if nowhere."""
    file.seek(at)
    while block := file.read(_BLOCK):
        found = block.find(b"OggS")
        if found >= 0:
            return at + found
        if len(block) < 4:
            return -1
        at += len(block) - 3
        file.seek(at)
    return -1


def starts_with_sound(file: BinaryIO) -> bool:
    """Returns whether one of the streams that begin at a file's start is sound."""
    at = 0
    while page := _next_page(file, at):
        if page.codec or not page.flags & _FIRST:
            return bool(page.codec)
        at = page.end
    return False
