import io
import os

import pytest

from audio.spliced_file import SplicedFile


def spliced() -> SplicedFile:
    return SplicedFile(io.BytesIO(b"0123456789"), [b"ab", (3, 6), b"", (8, 9), b"z"])


def test_the_pieces_follow_each_other() -> None:
    assert spliced().read() == b"ab3458z"


def test_a_read_goes_on_across_pieces_from_any_position() -> None:
    file = spliced()
    for start in range(8):
        for n_bytes in range(8):
            file.seek(start)
            assert file.read(n_bytes) == b"ab3458z"[start : start + n_bytes]
            assert file.tell() == min(7, start + n_bytes)


def test_positions_count_from_the_start_the_current_one_or_the_end() -> None:
    file = spliced()
    assert file.seek(-2, os.SEEK_END) == 5
    assert file.seek(1, os.SEEK_CUR) == 6
    assert file.read() == b"z"
    with pytest.raises(OSError, match="cannot move"):
        file.seek(-1)


def test_pieces_past_the_end_of_the_file_are_short() -> None:
    assert SplicedFile(io.BytesIO(b"0123"), [(2, 9), b"z"]).read() == b"23"


def test_no_pieces_are_an_empty_file() -> None:
    assert SplicedFile(io.BytesIO(b"0123"), []).read() == b""
