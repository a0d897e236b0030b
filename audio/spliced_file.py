"""A read-only file that consists of parts of another file, and of bytes between them.

Decoders read until their file ends. So to leave out what is not sound, to correct a size in a
header, or to decode one of several streams alone, the decoder is given such a file.

    file     | tag | frames | damage | frames | tag |
    spliced  | header | frames | frames |
"""

from __future__ import annotations

import bisect
import io
import itertools
import os
from collections.abc import Iterable
from typing import BinaryIO

# Bytes themselves, or the position of the first and past the last byte in the other file.
Piece = bytes | tuple[int, int]


class SplicedFile(io.RawIOBase):
    """The pieces, one after the other."""

    def __init__(self, file: BinaryIO, pieces: Iterable[Piece]) -> None:
        super().__init__()
        self._file = file
        self._pieces = [piece for piece in pieces if _length(piece) > 0]
        ends = itertools.accumulate(map(_length, self._pieces), initial=0)
        self._starts = list(ends)
        self._at = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position and returns it; one before the start is an OSError."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        if origin + offset < 0:
            raise OSError(f"cannot move to {origin + offset}")
        self._at = origin + offset
        return self._at

    def tell(self) -> int:
        """Returns the position."""
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fills the buffer, except at the end of the file, and returns the number of bytes."""
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view):
            index = bisect.bisect_right(self._starts, self._at) - 1
            if index >= len(self._pieces):
                break
            n_read = self._read_piece(index, view[done : done + self._starts[index + 1] - self._at])
            if not n_read:  # the other file is shorter than it was
                break
            done += n_read
            self._at += n_read
        return done

    def _read_piece(self, index: int, view: memoryview) -> int:
        piece, offset = self._pieces[index], self._at - self._starts[index]
        if isinstance(piece, bytes):
            view[:] = piece[offset : offset + len(view)]
            return len(view)
        self._file.seek(piece[0] + offset)
        content = self._file.read(len(view))
        view[: len(content)] = content
        return len(content)


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
