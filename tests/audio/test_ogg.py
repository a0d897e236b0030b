"""The pages of Ogg files: with other streams, holes, and broadcasts that were recorded."""

from __future__ import annotations

import io
import itertools
import struct

import numpy as np
import pytest

from audio.codec import AudioReader
from audio.errors import AudioError
from audio.ogg import _checksum, find_links, starts_with_sound
from tests.support import sound_files
from tests.support.sound_files import make

TUNE = sound_files.tune(20)
KINDS = ["vorbis", "opus", "oggflac"]


def page(content: bytes, *, stream: int, number: int, flags: int = 0, granule: int = 0) -> bytes:
    head = b"OggS\x00" + struct.pack("<BqII", flags, granule, stream, number)
    tail = bytes([1, len(content)]) + content
    return head + struct.pack("<I", _checksum(head + bytes(4) + tail)) + tail


def positions(content: bytes) -> list[int]:
    return [at for at in range(len(content)) if content[at : at + 5] == b"OggS\x00"]


def samples(content: bytes) -> np.ndarray:
    return np.concatenate(list(AudioReader(io.BytesIO(content)).mono_blocks()))


@pytest.mark.parametrize("kind", KINDS)
def test_checksums_are_those_that_encoders_write(kind: str) -> None:
    content = make(kind, TUNE)
    (link,) = find_links(io.BytesIO(content))
    assert link.pages == [(0, len(content))]
    assert len(link.contents) == len(positions(content)) > 4
    assert (link.n_missing, link.lost, link.ended) == (0, 0, True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_that_is_missing_is_counted_as_its_sound(kind: str) -> None:
    content = make(kind, TUNE)
    pages = positions(content)
    middle = len(pages) // 2
    holed = content[: pages[middle]] + content[pages[middle + 1] :]
    with pytest.raises(AudioError, match="damaged: 1 of its pages are lost; missing: about"):
        samples(holed)
    reader = AudioReader(io.BytesIO(holed), max_lost_share=0.5)
    kept = sum(len(block) for block in reader.mono_blocks()) / reader.sample_rate
    # libFLAC puts silence in place of missing frames.
    assert (20 if kind == "oggflac" else kept + reader.lost_seconds) == pytest.approx(20, abs=0.2)
    assert 0.5 < reader.lost_seconds < 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_bytes", [1, 100, 400])
def test_one_wrong_byte_in_a_page_is_noticed(kind: str, n_bytes: int) -> None:
    content = bytearray(make(kind, TUNE))
    middle = len(content) // 2
    content[middle : middle + n_bytes] = bytes(255 - x for x in content[middle : middle + n_bytes])
    with pytest.raises(AudioError, match="of its pages are lost"):
        samples(bytes(content))


@pytest.mark.parametrize("kind", KINDS)
def test_sound_beside_another_stream_is_read(kind: str) -> None:
    """A film, or a skeleton with an index, has several streams whose pages are mixed."""
    content = make(kind, TUNE)
    starts = [*positions(content), len(content)]
    pages = [content[a:b] for a, b in itertools.pairwise(starts)]
    film = page(b"\x80theora", stream=1, number=0, flags=2) + pages[0]
    for number, mine in enumerate(pages[1:], 1):
        film += page(b"picture", stream=1, number=number) + mine
    assert starts_with_sound(io.BytesIO(film))
    np.testing.assert_array_equal(samples(film), samples(content))


def test_a_film_without_sound_is_refused() -> None:
    film = page(b"\x80theora", stream=1, number=0, flags=2) + page(b"x", stream=1, number=1)
    assert not starts_with_sound(io.BytesIO(film))
    with pytest.raises(AudioError, match="no stream of Vorbis, Opus, FLAC or Speex"):
        AudioReader(io.BytesIO(film))


@pytest.mark.parametrize("kind", ["vorbis", "opus"])
def test_a_broadcast_that_was_joined_late_is_whole(kind: str) -> None:
    content = make(kind, TUNE)
    starts = [*positions(content), len(content)]
    late = b""
    for index, (start, end) in enumerate(itertools.pairwise(starts)):
        mine = bytearray(content[start:end])
        if index >= 2:
            granule, _, number = struct.unpack("<qII", mine[6:22])
            struct.pack_into("<q", mine, 6, granule + 10**9)
            struct.pack_into("<I", mine, 18, number + 5000)
            mine[22:26] = bytes(4)
            struct.pack_into("<I", mine, 22, _checksum(bytes(mine)))
        late += bytes(mine)
    reader = AudioReader(io.BytesIO(late))
    assert sum(len(block) for block in reader.mono_blocks()) / 48000 == pytest.approx(20, abs=0.1)
    assert reader.lost_seconds == 0
