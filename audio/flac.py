"""The headers of FLAC frames, to go on after damage where libsndfile gives up.

References:
  RFC 9639, "Free Lossless Audio Codec (FLAC)", 2024, section 9.1: frame header.
"""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

# Bytes of a header, at most.
_HEADER = 16
_BLOCK = 1 << 16
_CHECKSUMS = []
for _value in range(256):
    for _ in range(8):
        _value = (_value << 1 ^ (0x07 if _value & 0x80 else 0)) & 0xFF
    _CHECKSUMS.append(_value)


class Frame(NamedTuple):
    """What the header of a frame says.

    Attributes:
      at: Position in the file.
      first_sample: Number of samples before it in its stream.
      n_samples: Samples per channel.
    """

    at: int
    first_sample: int
    n_samples: int


def find_frame(file: BinaryIO, at: int, block_size: int) -> Frame | None:
    """Returns the first frame from a position on; None if there is none.

    Args:
      file: The file.
      at: The position.
      block_size: Size of all frames of the stream but the last, in samples per channel; 0 if they
        differ.
    """
    while True:
        file.seek(at)
        block = file.read(_BLOCK)
        found = block.find(b"\xff")
        while found >= 0:
            if block[found + 1 : found + 2] in (b"\xf8", b"\xf9"):
                head = block[found : found + _HEADER]
                if len(head) < _HEADER and len(block) == _BLOCK:
                    break  # the header continues in the next block
                if frame := _parse(head, at + found, block_size):
                    return frame
            found = block.find(b"\xff", found + 1)
        if len(block) < _BLOCK:
            return None
        at += _BLOCK - _HEADER


def _parse(head: bytes, at: int, block_size: int) -> Frame | None:
    """Returns the frame whose header is given; None if the checksum says that it is not one."""
    if len(head) < 6:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    number, end = _coded_number(head, 4)
    if end == 0 or size_code == 0 or rate_code == 15 or head[3] & 1 or head[3] >> 4 > 10:
        return None
    size_bytes = {6: 1, 7: 2}.get(size_code, 0)
    size = int.from_bytes(head[end : end + size_bytes], "big") + 1
    end += size_bytes + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    checksum = 0
    for value in head[:end]:
        checksum = _CHECKSUMS[checksum ^ value]
    if end >= len(head) or head[end] != checksum:
        return None
    if size_code == 1:
        size = 192
    elif size_code < 6:
        size = 576 << (size_code - 2)
    elif size_code > 7:
        size = 256 << (size_code - 8)
    # Frames of one size are numbered; otherwise the number is that of the first sample.
    is_sample = head[1] & 1
    return Frame(at, number if is_sample else number * (block_size or size), size)


def _coded_number(head: bytes, at: int) -> tuple[int, int]:
    """Returns a number that is coded like a character in UTF-8, and the position after it.

    The position is 0 if there is no such number.
    """
    first = head[at]
    n_more = next((bits for bits in range(7) if not first & 0x40 >> bits), 7) if first > 0x7F else 0
    rest = head[at + 1 : at + 1 + n_more]
    if 0x80 <= first < 0xC0 or len(rest) < n_more or any(value & 0xC0 != 0x80 for value in rest):
        return 0, 0
    number = first & (0x7F if first < 0x80 else 0x3F >> n_more)
    for value in rest:
        number = number << 6 | value & 0x3F
    return number, at + 1 + n_more
