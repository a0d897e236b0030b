"""The length of a recording is what its decoder delivers, and what is missing is known.

The truth is FFmpeg's number of samples, to one frame of the codec.
"""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from audio.codec import AudioReader
from audio.errors import AudioError
from tests.support import sound_files
from tests.support.sound_files import RATE, ffmpeg_seconds, make

TUNE = sound_files.tune(4)
KINDS = [*sound_files.SNDFILE, *sound_files.FFMPEG]
# The largest frame of a codec here: 2048 samples of Vorbis, 1152 of MP3 and their delays.
FRAME = 2400 / RATE


def read(content: bytes, **options: float) -> tuple[float, float]:
    """Returns the length of a file and the length of what is missing, seconds."""
    reader = AudioReader(io.BytesIO(content), **options)
    n_samples = sum(len(block) for block in reader.mono_blocks())
    return n_samples / reader.sample_rate, reader.lost_seconds


def with_bytes(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


@pytest.mark.parametrize("pipe", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_read_whole_and_lacks_nothing(kind: str, pipe: bool) -> None:
    if pipe and (kind in sound_files.SNDFILE or kind == "m4a"):
        pytest.skip("the encoder has to seek")
    content = make(kind, TUNE, pipe=pipe)
    seconds, lost = read(content)
    assert seconds == pytest.approx(ffmpeg_seconds(content), abs=FRAME)
    assert seconds == pytest.approx(4, abs=0.06)
    assert lost == 0


PIPED = {
    "wav": ("wav", "pcm_s16le", {}),
    "rf64": ("wav", "pcm_s16le", {"rf64": "always"}),
    "w64": ("w64", "pcm_s16le", {}),
    "aiff": ("aiff", "pcm_s16be", {}),
    "au": ("au", "pcm_s16be", {}),
    "caf": ("caf", "pcm_s16le", {}),
    "flac": ("flac", "flac", {}),
}


@pytest.mark.parametrize("kind", PIPED)
def test_what_a_writer_could_not_seek_back_to_tell_is_unknown(kind: str) -> None:
    container, codec, options = PIPED[kind]
    content = sound_files.ffmpeg(
        TUNE, container=container, codec=codec, options=options, pipe=True, bit_rate=None
    )
    assert read(content) == (4.0, 0.0)


# Where the size of the samples is in a file, and its struct format.
SIZES = {
    "wav": (b"data", 4, "<I"),
    "wavfloat": (b"data", 4, "<I"),
    "rf64": (b"ds64", 16, "<Q"),
    "w64": (b"data\xf3", 16, "<Q"),
    "aiff": (b"SSND", 4, ">I"),
    "aifc": (b"SSND", 4, ">I"),
    "svx": (b"BODY", 4, ">I"),
    "au": (b".snd", 8, ">I"),
    "caf": (b"data", 4, ">Q"),
}
PLACEHOLDERS = [
    0, 0x7FFF0000, 0x7FFFF000, 0x7FFFFFDB, 0x7FFFFFFF, 0x80000000, 0x80000024, 0xFFFFFF00,
    0xFFFFFFD3, 0xFFFFFFDB, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1,
]  # fmt: skip


def with_size(kind: str, content: bytes, size: int) -> bytes:
    name, offset, form = SIZES[kind]
    return with_bytes(content, content.index(name) + offset, struct.pack(form, size))


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("size", PLACEHOLDERS)
def test_a_size_that_no_file_of_this_length_has_means_unknown(kind: str, size: int) -> None:
    if size >= 1 << 8 * struct.calcsize(SIZES[kind][2]):
        pytest.skip("the field is smaller")
    content = with_size(kind, make(kind, TUNE), size)
    seconds, lost = read(content)
    assert (round(seconds, 2), lost) == (4, 0)


@pytest.mark.parametrize("kind", SIZES)
def test_a_true_size_that_the_file_does_not_reach_is_a_truncation(kind: str) -> None:
    content = with_size(kind, make(kind, TUNE), 900_000_000)
    with pytest.raises(AudioError, match=r"truncated: the header promises .* bytes of samples"):
        read(content)


def test_a_size_of_zero_before_other_chunks_is_true() -> None:
    content = with_size("wav", make("wav", TUNE), 0)[:44] + b"LIST\x04\x00\x00\x00INFO"
    assert read(content) == (0, 0)


def test_a_header_that_promises_less_gives_what_it_promises() -> None:
    assert read(with_size("wav", make("wav", TUNE), RATE)) == (0.5, 0)


# FFmpeg finds no end in these formats.
ENDLESS = ("aac", "ac3", "mp2", "fragments", "mka", "webm")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ENDLESS])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_file_cut_short_is_refused_and_is_used_if_that_is_wanted(kind: str, share: float) -> None:
    content = make(kind, TUNE)
    cut = content[: int(len(content) * share)]
    with pytest.raises(AudioError, match=r"truncated|damaged|not readable|malformed") as caught:
        read(cut)
    assert caught.value.remedy
    if kind in ("m4a", "alac"):
        return  # their index is at the end
    if not ffmpeg_seconds(cut):
        return  # nothing is left but headers
    seconds, lost = read(cut, max_lost_share=1)
    assert seconds == pytest.approx(ffmpeg_seconds(cut), abs=0.1)
    if kind not in ("vorbis", "opus", "oggflac"):  # where nobody knows the length
        assert seconds + lost == pytest.approx(4, abs=0.3)
    else:
        assert lost == np.inf


HOLED = [
    *("flac", "mp3", "mp2", "vorbis", "opus", "oggflac"),
    *("wv", "tta", "aac", "m4a", "ac3", "mka", "webm"),
]
HOLES = {"overwritten": bytes(4000), "removed": b""}


@pytest.mark.parametrize("kind", HOLED)
@pytest.mark.parametrize("hole", HOLES)
def test_a_hole_in_the_middle_is_noticed_and_measured(kind: str, hole: str) -> None:
    content = make(kind, sound_files.tune(20))
    middle = len(content) // 2
    holed = content[:middle] + HOLES[hole] + content[middle + 4000 :]
    if (kind, hole) == ("m4a", "removed"):
        return  # its index is not where the header says
    seconds, lost = read(holed, max_lost_share=1)
    assert seconds <= 20.1
    assert lost > 0
    # FLAC is filled up with silence where the numbers of frames tell how much is missing. An MP2
    # file tells nothing if frames are cut out.
    if kind in ("vorbis", "opus") or (kind in ("mp3", "mp2") and hole == "overwritten"):
        assert seconds + lost == pytest.approx(20, abs=0.3)
    with pytest.raises(AudioError, match=r"damaged|truncated|decoding failed"):
        read(holed, max_lost_share=0)


@pytest.mark.parametrize("kind", ["vorbis", "opus", "oggflac", "mp3", "mp2"])
def test_streams_one_after_the_other_are_all_read(kind: str) -> None:
    content = make(kind, TUNE) + make(kind, sound_files.tune(2, seed=1))
    seconds, lost = read(content)
    assert seconds == pytest.approx(ffmpeg_seconds(content), abs=FRAME)
    assert seconds == pytest.approx(6, abs=0.1)
    assert lost == 0


@pytest.mark.parametrize("kind", ["vorbis", "opus", "oggflac"])
def test_the_links_of_a_chain_are_the_files_that_were_joined(kind: str) -> None:
    first, second = make(kind, TUNE), make(kind, sound_files.tune(2, seed=1))

    def samples(content: bytes) -> np.ndarray:
        return np.concatenate(list(AudioReader(io.BytesIO(content)).mono_blocks()))

    joined = np.concatenate([samples(first), samples(second)])
    np.testing.assert_array_equal(samples(first + second), joined)


@pytest.mark.parametrize("kind", ["vorbis", "oggflac", "mp3"])
def test_a_stream_of_another_rate_is_brought_to_that_of_the_first(kind: str) -> None:
    other = sound_files.tune(2, rate=44100)
    content = make(kind, TUNE) + make(kind, np.stack([other, other], axis=1), rate=44100)
    seconds, lost = read(content)
    assert seconds == pytest.approx(6, abs=0.1)
    assert lost == 0
