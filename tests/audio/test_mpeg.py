"""MP3 and MP2 files without a true header: with none, joined, cut, and with other bytes between."""

from __future__ import annotations

import io

import numpy as np
import pytest

from audio.codec import AudioReader
from audio.mpeg import find_parts, id3_bytes, parse_frame
from tests.support import sound_files
from tests.support.sound_files import RATE, ffmpeg_seconds, tune

STEREO = np.stack([tune(10), 0.5 * tune(10)], axis=1)
ID3 = b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257)
TAG = b"TAG" + bytes(125)
APE = b"APETAGEX\xd0\x07\x00\x00\x20\x00\x00\x00" + bytes(16 + 32)


_made: dict[tuple[bytes, bool, int | None], bytes] = {}


def mp3(samples: np.ndarray = STEREO, *, xing: bool = True, quality: int | None = 2) -> bytes:
    key = (samples[::1000].tobytes(), xing, quality)
    if key not in _made:
        _made[key] = encoded(samples, xing=xing, quality=quality)
    return _made[key]


def encoded(samples: np.ndarray, *, xing: bool, quality: int | None) -> bytes:
    options = {"write_xing": str(int(xing)), "id3v2_version": "0"}
    return sound_files.ffmpeg(
        samples, container="mp3", codec="libmp3lame", options=options, quality=quality
    )


def read(content: bytes) -> tuple[float, float]:
    reader = AudioReader(io.BytesIO(content), max_lost_share=1)
    seconds = sum(len(block) for block in reader.mono_blocks()) / reader.sample_rate
    return seconds, reader.lost_seconds


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("fffb9064", (417, 1152, 3)),  # MPEG-1, layer III, 128 kb/s, 44.1 kHz
        ("fffb9264", (418, 1152, 3)),  # padded
        ("fff38064", (208, 576, 3)),  # MPEG-2, 64 kb/s, 22.05 kHz
        ("ffe38064", (417, 576, 3)),  # MPEG-2.5, 64 kb/s, 11.025 kHz
        ("fffd9064", (522, 1152, 2)),  # layer II, 160 kb/s
        ("ffff9064", (312, 384, 1)),  # layer I, 288 kb/s
    ],
)
def test_headers_tell_the_size_of_frames(header: str, expected: tuple[int, int, int]) -> None:
    frame = parse_frame(bytes.fromhex(header))
    assert frame is not None
    assert (frame.n_bytes, frame.n_samples, frame.layer) == expected


@pytest.mark.parametrize(
    "header",
    ["fffe4500"[:6], "ffd8ffe0", "fffbf064", "fffb9c64", "fff99064", "ffeb9064", "fffb0064"],
)
def test_what_no_header_can_be_is_none(header: str) -> None:
    assert parse_frame(bytes.fromhex(header)) is None


def test_a_tag_tells_its_size() -> None:
    assert id3_bytes(ID3) == len(ID3)
    assert id3_bytes(b"ID3\x04\x00\x10\x00\x00\x02\x01") == len(ID3) + 10
    assert id3_bytes(b"ID3\x04\x00\x00\x00\x00\x82\x01") == id3_bytes(b"TAG") == 0


def test_all_frames_are_found() -> None:
    content = mp3()
    (part,) = find_parts(io.BytesIO(content))
    assert part.n_frames == part.promised_frames == -(-10 * RATE // 1152) + 1
    assert part.ranges == [(len(part.tag), len(content))]
    assert part.lost_frames == 0


LOUD_FIRST = STEREO * np.linspace(1, 0, len(STEREO))[:, None] ** 4
SILENT_FIRST = STEREO * (np.arange(len(STEREO)) > 4 * RATE)[:, None]


@pytest.mark.parametrize("samples", [STEREO, LOUD_FIRST, SILENT_FIRST])
@pytest.mark.parametrize("xing", [False, True])
@pytest.mark.parametrize("quality", [None, 0, 9])
def test_a_stream_without_a_header_is_read_to_its_end(samples, xing: bool, quality) -> None:
    content = mp3(samples.astype(np.float32), xing=xing, quality=quality)
    seconds, lost = read(content)
    assert seconds == pytest.approx(ffmpeg_seconds(content), abs=1152 / RATE)
    assert seconds == pytest.approx(10, abs=0.05)
    assert lost == 0


@pytest.mark.parametrize("xing", [False, True])
@pytest.mark.parametrize("between", [b"", ID3, TAG, APE, TAG + ID3])
def test_joined_files_are_read_to_the_end_of_the_last(xing: bool, between: bytes) -> None:
    content = ID3 + mp3(xing=xing) + between + mp3(xing=xing, quality=6) + APE + TAG
    seconds, lost = read(content)
    assert seconds == pytest.approx(20, abs=0.1)
    assert lost == 0


def test_a_header_of_xing_that_promises_too_little_is_not_believed() -> None:
    content = mp3()
    at = content.index(b"Xing") + 8
    seconds, lost = read(content[:at] + bytes([0, 0, 0, 9]) + content[at + 4 :])
    assert seconds == pytest.approx(10, abs=0.05)
    assert lost == 0


def test_a_recorded_stream_begins_and_ends_within_a_frame() -> None:
    content = mp3(xing=False)
    seconds, lost = read(content[1000:-100])
    assert seconds == pytest.approx(10, abs=0.15)
    assert lost == 0


def test_zeros_at_the_end_of_an_unfinished_download_are_lost_sound() -> None:
    content = mp3(xing=False)
    kept = len(content) * 3 // 4
    seconds, lost = read(content[:kept] + bytes(len(content) - kept))
    assert seconds + lost == pytest.approx(10, abs=0.5)
    assert lost > 1


def test_bytes_that_look_like_a_header_within_damage_do_not_end_the_file() -> None:
    content = mp3(xing=False)
    middle = len(content) // 2
    noise = np.random.default_rng(0).integers(0, 256, 20_000, np.uint8).tobytes()
    fake = noise[:9000] + content[:4] + noise[9000:]
    seconds, lost = read(content[:middle] + fake + content[middle + len(fake) :])
    assert seconds + lost == pytest.approx(10, abs=0.3)
    assert 2 < lost < 4


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"\xff\xfb\x90\x64", bytes(10_000), b"text" * 999]
)
def test_what_is_not_mpeg_audio_has_no_parts(content: bytes) -> None:
    assert find_parts(io.BytesIO(content)) == []


def test_a_few_frames_fewer_than_promised_are_no_truncation() -> None:
    """Encoders count frames that decoders skip: real files are short by some thousand samples."""
    content = mp3(quality=None)
    whole, _ = read(content)
    shortened, lost = read(content[:-1500])
    assert 2000 < (whole - shortened) * RATE < 15_000
    assert lost == 0
