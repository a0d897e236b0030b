"""AAC, bare and in MP4, and the message if the optional package is not installed."""

import io
import pathlib
import subprocess
import sys

import av
import numpy as np
import pytest
import soundfile

from audio.codec import AudioReader, read_mono
from audio.errors import AudioError
from tests.support import signals, sound_files

RATE = 44100
TUNE = signals.tune(seconds=5, rate=RATE)


def encoded(folder: pathlib.Path, kind: str, **options: str) -> bytes:
    path = folder / "tune"
    with av.open(str(path), "w", format=kind, options=options) as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono", bit_rate=128_000)
        for at in range(0, len(TUNE), 1024):
            samples = TUNE[None, at : at + 1024]
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.rate, frame.pts = RATE, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def test_m4a_is_decoded_with_its_start_where_it_belongs(tmp_path) -> None:
    content = encoded(tmp_path, "ipod")
    decoded = read_mono(io.BytesIO(content), sample_rate=RATE)
    assert 0 <= len(decoded) - len(TUNE) < 1024
    assert np.abs(decoded[: len(TUNE)] - TUNE).mean() < 0.01 * np.abs(TUNE).mean()


def test_bare_aac_is_decoded(tmp_path) -> None:
    content = encoded(tmp_path, "adts")
    reader = AudioReader(io.BytesIO(content))
    decoded = np.concatenate(list(reader.mono_blocks()))
    # ADTS says nothing of the encoder's 1024 samples of run-up.
    assert np.abs(decoded[1024 : 1024 + len(TUNE)] - TUNE).mean() < 0.01 * np.abs(TUNE).mean()


def test_a_second_pass_decodes_the_same(tmp_path) -> None:
    content = encoded(tmp_path, "ipod")
    once = read_mono(io.BytesIO(content), sample_rate=RATE)
    reader = AudioReader(io.BytesIO(content))
    scaled = np.concatenate(list(reader.mono_blocks(loudness_lufs=-30)))
    assert reader.gain != 1
    np.testing.assert_array_equal(scaled, once * np.float32(reader.gain))


@pytest.mark.parametrize(("kind", "options"), [("ipod", {"movflags": "faststart"}), ("ipod", {})])
def test_a_file_that_was_cut_short_is_refused(tmp_path, kind: str, options: dict) -> None:
    content = encoded(tmp_path, kind, **options)
    with pytest.raises(AudioError, match=r"truncated|not readable|decoding failed"):
        read_mono(io.BytesIO(content[: len(content) * 2 // 3]), sample_rate=RATE)


@pytest.mark.parametrize("kind", ["aac", "tta", "ac3", "mp2", "flac", "wav", "vorbis"])
def test_a_tag_before_the_file_is_passed_over(kind: str) -> None:
    tag = b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257)
    content = sound_files.make(kind, TUNE, rate=48000)
    plain = read_mono(io.BytesIO(content), sample_rate=48000)
    tagged = read_mono(io.BytesIO(tag + content), sample_rate=48000)
    np.testing.assert_array_equal(tagged, plain)


WRITABLE = [
    (container, subtype)
    for container in soundfile.available_formats()
    for subtype in soundfile.available_subtypes(container)
    # SD2 is two files, and RAW has no header.
    if container not in ("SD2", "RAW") and subtype not in ("MPEG_LAYER_I", "MPEG_LAYER_II")
]


@pytest.mark.parametrize(("container", "subtype"), WRITABLE)
def test_every_subtype_of_libsndfile_is_read_twice(container: str, subtype: str) -> None:
    """GSM 6.10, G.721, NMS ADPCM and others cannot seek, or tell their length only in blocks."""
    narrow = any(name in subtype for name in ("GSM", "G72", "NMS")) or container == "WVE"
    rate = 8000 if narrow else 48000
    file = io.BytesIO()
    try:
        soundfile.write(file, TUNE, rate, format=container, subtype=subtype)
    except soundfile.LibsndfileError:
        pytest.skip("libsndfile does not write it")
    once = np.concatenate(list(AudioReader(file).mono_blocks()))
    assert len(once) == pytest.approx(len(TUNE), rel=0.1)
    reader = AudioReader(file)
    scaled = np.concatenate(list(reader.mono_blocks(loudness_lufs=-30)))
    np.testing.assert_array_equal(scaled, once * np.float32(reader.gain))


def test_a_codec_in_wav_that_libsndfile_does_not_know_is_read_with_pyav() -> None:
    content = sound_files.ffmpeg(TUNE, container="wav", codec="libmp3lame", rate=RATE)
    decoded = read_mono(io.BytesIO(content), sample_rate=RATE)
    assert len(decoded) == pytest.approx(len(TUNE), abs=3 * 1152)


def test_without_the_extra_it_is_named(tmp_path) -> None:
    path = tmp_path / "song.m4a"
    path.write_bytes(encoded(tmp_path, "ipod"))
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from audio.codec import AudioReader\n"
        "from audio.errors import AudioError\n"
        "try: AudioReader(open(sys.argv[1], 'rb'))\n"
        "except AudioError as error: print(error, '|', error.remedy)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "needs the optional package av" in done.stdout
    assert "pip install av" in done.stdout
