"""The format of a file by its content: of files in every format, and of others that begin alike."""

import io
import struct

import pytest

from audio.formats import Format, find_format, is_certainly_audio
from tests.support import sound_files

TUNE = sound_files.tune(1)
FORMATS = {
    **dict.fromkeys(["wav", "wav8", "adpcm", "wavex", "rf64"], Format.WAV),
    "w64": Format.W64,
    "aiff": Format.AIFF,
    "aifc": Format.AIFF,
    "svx": Format.SVX,
    "au": Format.AU,
    "caf": Format.CAF,
    "flac": Format.FLAC,
    "mp3": Format.MPEG,
    **dict.fromkeys(["vorbis", "opus", "oggflac"], Format.OGG),
    "mp2": Format.MPEG,
    "m4a": Format.MP4,
    "aac": Format.ADTS,
    "mka": Format.MATROSKA,
    "webm": Format.MATROSKA,
    "wv": Format.WAVPACK,
    "tta": Format.TTA,
    "ac3": Format.AC3,
}
ID3 = b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_format_is_known_by_its_content_with_and_without_a_tag(kind: str) -> None:
    content = sound_files.make(kind, TUNE)
    assert find_format(io.BytesIO(content)) == (FORMATS[kind], 0)
    assert find_format(io.BytesIO(ID3 + ID3 + content)) == (FORMATS[kind], 2 * len(ID3))
    by_name = FORMATS[kind] in (Format.MATROSKA, Format.WAVPACK, Format.TTA, Format.AC3)
    assert is_certainly_audio(io.BytesIO(content)) != by_name


UTF16 = "Exact Audio Copy V1.6\r\n\r\nEAC extraction logfile".encode("utf-16")
THEORA = b"OggS\x00\x02" + bytes(20) + b"\x01\x07\x80theora"
OTHERS = {
    "empty": b"",
    "text": b"hello, this is text",
    "utf-16": UTF16,
    "utf-16 of one word": "E".encode("utf-16"),
    "ones": b"\xff" * 5000,
    "webp": b"RIFF" + struct.pack("<I", 32) + b"WEBPVP8 " + struct.pack("<I", 20) + bytes(20),
    "avi": b"RIFF" + struct.pack("<I", 100) + b"AVI LIST" + bytes(100),
    "midi in riff": b"RIFF" + struct.pack("<I", 100) + b"RMIDdata" + bytes(100),
    "picture": b"FORM" + struct.pack(">I", 100) + b"ILBMBMHD" + bytes(100),
    "film": THEORA,
    "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)) * 20,
    "only a tag": ID3,
    "video": b"\x00\x00\x00\x20ftypisom" + bytes(100),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_begins_like_audio_but_is_not_is_not_taken_for_it(name: str) -> None:
    assert not is_certainly_audio(io.BytesIO(OTHERS[name]))
