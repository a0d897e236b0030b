import threading

import librosa
import numpy as np
import pytest
from librosa.filters import mel

from audio.config import AudioConfig
from audio.errors import AudioError
from audio.mel import LogMelStream, log_mel, mel_filterbank
from tests.support import signals

CONFIGS = [
    AudioConfig(),
    AudioConfig(sample_rate=16000, n_fft=1024, hop_length=160, n_mels=80, fmin=50, fmax=7000),
    AudioConfig(n_fft=512, hop_length=512, n_mels=3),
]


def to_db(natural: np.ndarray) -> np.ndarray:
    return natural * (10 / np.log(10))


@pytest.mark.parametrize("config", CONFIGS)
def test_filterbank_is_librosas(config: AudioConfig) -> None:
    expected = mel(
        sr=config.sample_rate,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax,
        dtype=np.float64,
    )
    np.testing.assert_allclose(mel_filterbank(config), expected, atol=1e-12)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(("exact", "tolerance_db"), [(True, 1e-4), (False, 5e-4)])
def test_log_mel_is_librosas(config: AudioConfig, exact: bool, tolerance_db: float) -> None:
    rate = config.sample_rate
    samples = signals.tune(seconds=3, rate=rate) + signals.noise(seconds=3, rate=rate, level=1e-3)
    power = librosa.feature.melspectrogram(
        y=samples.astype(np.float64),
        sr=rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax,
        pad_mode="constant",
    )
    expected = librosa.power_to_db(power, top_db=None)
    decibels = to_db(log_mel(samples, config, exact=exact)).T
    assert decibels.shape == expected.shape
    audible = np.ones_like(expected, bool) if exact else expected > expected.max() - 80
    assert np.abs(decibels - expected)[audible].max() <= tolerance_db


def test_log_mel_of_silence_is_log_floor() -> None:
    config = AudioConfig(log_floor=1e-7)
    frames = log_mel(np.zeros(5000, np.float32), config)
    np.testing.assert_array_equal(frames, np.full((10, 128), np.log(np.float32(1e-7))))


def test_a_sine_peaks_in_the_band_that_holds_it() -> None:
    config = AudioConfig()
    frames = log_mel(signals.sine(1000, seconds=1), config)
    centres = librosa.mel_frequencies(n_mels=130, fmin=0, fmax=11025)[1:-1]
    assert abs(centres[frames[20].argmax()] - 1000) < 40


@pytest.mark.parametrize("n_samples", [1, 100, 511, 512, 1024, 16383, 16384, 16385, 40000])
@pytest.mark.parametrize("piece", [1, 7, 511, 512, 513, 16384])
def test_pieces_leave_no_trace(n_samples: int, piece: int) -> None:
    if n_samples / piece > 2000:
        piece *= 100
    config = AudioConfig()
    samples = signals.noise(seconds=2)[:n_samples]
    stream = LogMelStream(config)
    pieces = [stream.push(samples[at : at + piece]) for at in range(0, n_samples, piece)]
    np.testing.assert_array_equal(
        np.concatenate([*pieces, stream.finish()]), log_mel(samples, config)
    )


def test_threads_do_not_share_buffers() -> None:
    config = AudioConfig()
    inputs = [signals.noise(seconds=5, seed=seed) for seed in range(4)]
    expected = [log_mel(samples, config) for samples in inputs]
    results: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        for _ in range(5):
            results[index] = log_mel(inputs[index], config)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(4):
        np.testing.assert_array_equal(results[index], expected[index])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0, np.float32), "at least one sample"),
        (np.zeros((100, 2), np.float32), "mono"),
        (np.array([0.0, np.nan], np.float32), "finite"),
        (np.array([0.0, np.inf], np.float32), "finite"),
    ],
)
def test_unusable_samples_are_refused(samples: np.ndarray, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        log_mel(samples, AudioConfig())
