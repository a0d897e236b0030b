import io
from typing import Any

import numpy as np
import pytest
import soundfile

from audio.codec import AudioReader, read_mono, resample_blocks, to_pcm16
from audio.errors import AudioError
from tests.support import signals


def encoded(samples: np.ndarray, rate: int = 22050, **kwargs: str) -> io.BytesIO:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **({"format": "WAV", "subtype": "FLOAT"} | kwargs))
    buffer.seek(0)
    return buffer


def test_float_wav_comes_back_to_the_bit() -> None:
    samples = signals.noise(seconds=4)
    np.testing.assert_array_equal(read_mono(encoded(samples), sample_rate=22050), samples)


def test_channels_are_averaged() -> None:
    left, right = signals.noise(seconds=1, seed=1), signals.noise(seconds=1, seed=2)
    mono = read_mono(encoded(np.stack([left, right], axis=1)), sample_rate=22050)
    np.testing.assert_allclose(mono, (left + right) / 2, atol=1e-7)


def test_the_same_pcm_has_the_same_id_in_any_lossless_container() -> None:
    samples = to_pcm16(signals.noise(seconds=4))

    def identity(**kwargs: Any) -> str:
        reader = AudioReader(encoded(samples, **kwargs))
        assert sum(len(block) for block in reader.mono_blocks()) == len(samples)
        return reader.recording_id()

    wav = identity(format="WAV", subtype="PCM_16")
    assert wav == identity(format="FLAC", subtype="PCM_16")
    assert wav == identity(format="AIFF", subtype="PCM_24")
    assert len(wav) == 64


def test_another_rate_is_another_recording() -> None:
    samples = to_pcm16(signals.noise(seconds=1))
    ids = set()
    for rate in (22050, 44100):
        reader = AudioReader(encoded(samples, rate, subtype="PCM_16"))
        list(reader.mono_blocks())
        ids.add(reader.recording_id())
    assert len(ids) == 2


def test_resampling_in_blocks_is_resampling_at_once() -> None:
    samples = signals.noise(seconds=2, rate=44100)

    def resampled(block: int) -> np.ndarray:
        blocks = iter([samples[at : at + block] for at in range(0, len(samples), block)])
        return np.concatenate(list(resample_blocks(blocks, from_rate=44100, to_rate=22050)))

    np.testing.assert_allclose(resampled(1000), resampled(len(samples)), atol=1e-6)
    assert len(resampled(1000)) == 44100


def test_resampling_keeps_a_tone() -> None:
    mono = read_mono(encoded(signals.sine(440, seconds=1, rate=48000), 48000), sample_rate=22050)
    np.testing.assert_allclose(mono[500:-500], signals.sine(440, seconds=1)[500:-500], atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_no_recording_has_are_refused(value: float) -> None:
    samples = signals.noise(seconds=1)
    samples[5000] = value
    with pytest.raises(AudioError, match="finite samples"):
        read_mono(encoded(samples), sample_rate=22050)


def test_one_bad_channel_is_not_averaged_away() -> None:
    samples = np.stack([signals.noise(seconds=1)] * 2, axis=1)
    samples[100, 1] = np.nan
    with pytest.raises(AudioError, match="finite samples"):
        read_mono(encoded(samples), sample_rate=22050)


def stereo(left_level: float, right_level: float) -> np.ndarray:
    left, right = signals.sine(440, seconds=1), signals.sine(1000, seconds=1)
    return np.stack([left_level * left, right_level * right], axis=1)


@pytest.mark.parametrize(
    ("channels", "index"), [("left", 0), ("right", 1), ("loudest", 1), ("mix", None)]
)
def test_channel_policy(channels: str, index: int | None) -> None:
    samples = stereo(0.3, 0.9)
    mono = read_mono(encoded(samples), sample_rate=22050, channels=channels)
    expected = samples.mean(axis=1) if index is None else samples[:, index]
    np.testing.assert_allclose(mono, expected, atol=1e-6)


def test_channels_that_cancel_are_refused_in_the_mix_alone() -> None:
    samples = stereo(0.5, 0.0)
    samples[:, 1] = -samples[:, 0]
    with pytest.raises(AudioError, match="antiphase") as caught:
        read_mono(encoded(samples), sample_rate=22050)
    assert "audio.channels" in caught.value.remedy
    mono = read_mono(encoded(samples), sample_rate=22050, channels="left")
    np.testing.assert_allclose(mono, samples[:, 0], atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"RIFF\x00\x00\x00\x00WAVE"])
def test_what_is_no_audio_is_refused(content: bytes) -> None:
    with pytest.raises(AudioError, match="not readable as audio"):
        AudioReader(io.BytesIO(content))


def test_truncated_flac_is_refused() -> None:
    content = encoded(to_pcm16(signals.noise(seconds=4)), format="FLAC", subtype="PCM_16").read()
    with pytest.raises(AudioError, match=r"truncated|decoding failed"):
        read_mono(io.BytesIO(content[: len(content) // 2]), sample_rate=22050)


def test_pcm16_clips_and_then_rounds() -> None:
    integers = to_pcm16(np.array([0.0, 1.0, -1.0, 2.0, -2.0, 0.6 / 32767, 0.4 / 32767], np.float32))
    assert integers.tolist() == [0, 32767, -32767, 32767, -32767, 1, 0]
