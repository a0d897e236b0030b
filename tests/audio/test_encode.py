"""Every format, read back by libsndfile."""

import io
import time

import numpy as np
import pytest
import soundfile

from audio.codec import AudioReader
from audio.encode import FORMATS, encode, sample_rate_for
from audio.errors import UsageError
from tests.support import signals

TAGS = {
    "title": "clip-0003 é",
    "artist": "Nocturne, model abc",
    "comment": "seed 7",
    "date": "2026-11-22",
}


def encoded(samples: np.ndarray, *, rate: int, name: str) -> bytes:
    file = io.BytesIO()
    # In pieces that no format's blocks fit into.
    encode(np.array_split(samples, 7), file, sample_rate=rate, format_name=name, tags=TAGS)
    return file.getvalue()


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_holds_the_sound_and_the_tags(name: str) -> None:
    rate = sample_rate_for(name, 22050)
    tone = signals.sine(440, seconds=2, rate=rate, level=0.3)
    content = encoded(tone, rate=rate, name=name)
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert (file.format, file.subtype) == (FORMATS[name].container, FORMATS[name].subtype)
        assert file.samplerate == rate
        assert (file.title, file.artist, file.comment) == tuple(TAGS.values())[:3]
        # ID3 keeps the year alone.
        assert TAGS["date"].startswith(file.date)
        assert len(file.date) >= 4
        decoded = file.read(dtype="float32")
    assert len(decoded) == len(tone)
    middle = slice(rate // 2, -rate // 2)
    error = decoded[middle] - tone[middle]
    # 16 bit: half a step, and 1 / 32768 of 0.3 because full scale is written as 32767.
    worst = {"PCM_16": 2.5e-5, "PCM_24": 1e-6, "FLOAT": 0.0}.get(FORMATS[name].subtype, 0.02)
    assert np.abs(error).max() <= worst
    reader = AudioReader(io.BytesIO(content), max_lost_share=0)
    assert sum(len(block) for block in reader.mono_blocks()) > 0


@pytest.mark.parametrize("name", FORMATS)
def test_equal_samples_give_equal_bytes_at_another_second(name: str) -> None:
    """libsndfile writes times into float WAV, and numbers Ogg streams by them."""
    rate = sample_rate_for(name, 22050)
    tone = signals.sine(440, seconds=0.5, rate=rate)
    first = encoded(tone, rate=rate, name=name)
    time.sleep(1.1)
    assert encoded(tone, rate=rate, name=name) == first


def test_opus_and_mp3_get_a_rate_that_they_know() -> None:
    assert [sample_rate_for("opus", rate) for rate in (22050, 44100, 96000)] == [
        24000,
        48000,
        48000,
    ]
    assert sample_rate_for("mp3", 22050) == 22050
    assert sample_rate_for("flac", 96000) == 96000
    with pytest.raises(UsageError, match=r"wanted one of wav, wav24.*got 'aac'"):
        sample_rate_for("aac", 44100)
