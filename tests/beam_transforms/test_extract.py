"""Loudness, silence and figures of a recording."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile

from audio import contract
from audio.config import AudioConfig
from audio.errors import AudioError
from audio.mel import log_mel
from beam_transforms.extract import ExtractedRecording, extract_recording
from beam_transforms.settings import PrepareSettings
from tests.support import signals

RATE = 22050
TUNE = signals.tune(seconds=6)


def extract(samples: np.ndarray, rate: int = RATE, **audio: Any) -> ExtractedRecording:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    file.seek(0)
    settings = PrepareSettings(chunk_frames=100)
    return extract_recording(file, audio=AudioConfig(n_mels=40, **audio), settings=settings)


def frames(extracted: ExtractedRecording) -> np.ndarray:
    return np.concatenate([chunk.log_mel for chunk in extracted.chunks])


def test_recordings_of_one_loudness_give_the_same_frames() -> None:
    loud = extract(TUNE, loudness_lufs=-23.0)
    quiet = extract(TUNE * np.float32(0.1), loudness_lufs=-23.0)
    assert loud.figures[contract.LUFS] - quiet.figures[contract.LUFS] == pytest.approx(20, abs=0.01)
    assert loud.recording_id != quiet.recording_id
    np.testing.assert_allclose(frames(loud), frames(quiet), atol=0.02)


def test_frames_have_the_configured_loudness() -> None:
    recording = extract(TUNE * np.float32(0.05), loudness_lufs=-23.0)
    gain = 10 ** ((-23 - recording.figures[contract.LUFS]) / 20)
    expected = log_mel(TUNE * np.float32(0.05 * gain), AudioConfig(n_mels=40))
    np.testing.assert_allclose(frames(recording), expected, atol=0.02)


def test_no_gain_hides_a_silent_recording() -> None:
    with pytest.raises(AudioError, match="silent: its loudest frame is -8"):
        extract(signals.sine(440, seconds=3, level=1e-4), loudness_lufs=-20.0)


def test_silence_is_cut_from_both_ends_and_kept_in_between() -> None:
    pause = np.zeros(RATE * 3, np.float32)
    whole = extract(np.concatenate([pause, TUNE, pause, TUNE, pause, pause]))
    cut = extract(np.concatenate([pause, TUNE, pause, TUNE, pause, pause]), trim_silence_db=-60.0)
    kept = frames(cut)
    assert abs(len(kept) - (6 + 3 + 6) * RATE / 512) < 8
    start = np.flatnonzero(frames(whole).max(axis=1) > -12)[0]
    # The kept frames are equal to the bit to those of the whole recording.
    starts = [s for s in range(start - 8, start + 8) if (frames(whole)[s] == kept[0]).all()]
    np.testing.assert_array_equal(frames(whole)[starts[0] : starts[0] + len(kept)], kept)
    assert cut.figures[contract.DURATION_SECONDS] == 24


def test_the_rest_without_silence_may_be_too_short() -> None:
    samples = np.concatenate([np.zeros(RATE * 5, np.float32), TUNE[: RATE // 2]])
    with pytest.raises(AudioError, match=r"too short: 0\.\d+ s are left without the silence"):
        extract(samples, trim_silence_db=-60.0)


def test_a_silent_recording_is_called_silent_with_trimming_too() -> None:
    with pytest.raises(AudioError, match="silent"):
        extract(signals.noise(seconds=3, level=1e-5), trim_silence_db=-60.0)


def test_peak_and_clipping_are_those_of_the_channels_not_of_their_mix() -> None:
    left = np.clip(signals.sine(100, seconds=2, level=2.0), -1, 1)
    both = extract(np.stack([left, 0.1 * TUNE[: len(left)]], axis=1))
    assert both.figures[contract.SAMPLE_PEAK_DB] == pytest.approx(0, abs=1e-6)
    # A sine of twice full scale is beyond it for two thirds of the time.
    assert both.figures[contract.CLIPPED_SHARE] == pytest.approx(2 / 3 / 2, abs=0.002)
    assert extract(TUNE).figures[contract.CLIPPED_SHARE] == 0


@pytest.mark.parametrize(("rate", "edge"), [(8000, 4000), (11025, 5512)])
def test_upsampled_material_shows_in_its_bandwidth(rate: int, edge: int) -> None:
    import soxr

    noise = signals.noise(seconds=4, rate=rate)
    recording = extract(soxr.resample(noise, rate, 44100), rate=44100)
    assert 0.85 * edge < recording.figures[contract.BANDWIDTH_HZ] < 1.15 * edge
    real = extract(signals.noise(seconds=4, rate=44100), rate=44100)
    assert real.figures[contract.BANDWIDTH_HZ] > 10_000


def test_the_centroid_of_a_tone_is_its_frequency() -> None:
    recording = extract(signals.sine(1000, seconds=2))
    assert recording.figures[contract.CENTROID_HZ] == pytest.approx(1000, rel=0.06)
