"""Truncated and damaged files, made from complete ones."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from audio.codec import read_mono
from audio.containers import check_complete
from audio.errors import AudioError
from tests.support import signals

SAMPLES = signals.tune(seconds=4, rate=48000)
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "wav8": ("WAV", "PCM_U8"),
    "wav24": ("WAV", "PCM_24"),
    "wav32": ("WAV", "PCM_32"),
    "wavfloat": ("WAV", "FLOAT"),
    "mulaw": ("WAV", "ULAW"),
    "adpcm": ("WAV", "IMA_ADPCM"),
    "wavex": ("WAVEX", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def encoded(kind: str) -> bytes:
    container, subtype = FORMATS[kind]
    buffer = io.BytesIO()
    soundfile.write(buffer, SAMPLES, 48000, format=container, subtype=subtype)
    return buffer.getvalue()


def decoded(content: bytes) -> np.ndarray:
    return read_mono(io.BytesIO(content), sample_rate=48000)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_whole_file_passes_and_is_rewound(kind: str) -> None:
    file = io.BytesIO(encoded(kind))
    check_complete(file)
    assert file.tell() == 0
    samples = read_mono(file, sample_rate=48000)
    # Codecs with delay give a little more or less.
    assert abs(len(samples) - len(SAMPLES)) <= 2400
    assert np.corrcoef(samples[4800:96000], SAMPLES[4800:96000])[0, 1] > 0.3 or kind in (
        "mp3",
        "opus",
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_file_cut_short_is_refused(kind: str, share: float) -> None:
    content = encoded(kind)
    with pytest.raises(AudioError, match=r"truncated|decoding failed|malformed") as caught:
        decoded(content[: int(len(content) * share)])
    assert caught.value.remedy


@pytest.mark.parametrize("kind", ["vorbis", "opus"])
def test_an_ogg_file_with_a_hole_is_refused(kind: str) -> None:
    content = encoded(kind)
    pages = [at for at in range(len(content)) if content[at : at + 4] == b"OggS"]
    middle = len(pages) // 2
    assert len(pages) > 4
    holed = content[: pages[middle]] + content[pages[middle + 1] :]
    with pytest.raises(AudioError, match="damaged: page"):
        decoded(holed)
    zeroed = content[: pages[middle]] + bytes(100) + content[pages[middle] + 100 :]
    with pytest.raises(AudioError, match="damaged: wanted an Ogg page"):
        decoded(zeroed)


def test_a_flac_file_with_a_hole_is_refused() -> None:
    content = encoded("flac")
    holed = content[: len(content) // 2] + content[len(content) // 2 + 5000 :]
    with pytest.raises(AudioError, match=r"truncated|decoding failed"):
        decoded(holed)


def test_an_mp3_that_lacks_a_few_frames_of_its_promise_is_no_truncated_one() -> None:
    """Encoders count frames that decoders skip: real files are short by some thousand samples."""
    content = encoded("mp3")
    whole = len(decoded(content))
    shortened = len(decoded(content[:-1500]))
    assert 2000 < whole - shortened < 15_000


def with_data_size(content: bytes, size: int) -> bytes:
    at = content.index(b"data") + 4
    return content[:at] + struct.pack("<I", size) + content[at + 4 :]


def test_a_header_that_promises_more_is_refused() -> None:
    with pytest.raises(
        AudioError, match=r"promises 900000000 bytes of samples, the file has 384000"
    ):
        decoded(with_data_size(encoded("wav"), 900_000_000))


def test_a_header_that_promises_less_gives_what_it_promises() -> None:
    assert len(decoded(with_data_size(encoded("wav"), 96_000))) == 48_000


def test_a_streamed_file_promises_nothing_and_is_read_whole() -> None:
    assert len(decoded(with_data_size(encoded("wav"), 0xFFFFFFFF))) == len(SAMPLES)
