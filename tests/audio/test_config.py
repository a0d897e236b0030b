import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest

from audio.config import AudioConfig
from audio.errors import UsageError


def test_defaults_are_the_documented_front_end() -> None:
    config = AudioConfig()
    assert dataclasses.asdict(config) == {
        "sample_rate": 22050,
        "n_fft": 2048,
        "hop_length": 512,
        "n_mels": 128,
        "fmin": 0.0,
        "fmax": 11025.0,
        "channels": "mix",
        "loudness_lufs": None,
        "trim_silence_db": None,
        "log_floor": 1e-10,
    }
    assert config.n_bins == 1025
    assert config.frames_per_second == 22050 / 512  # not 43


def test_fmax_follows_the_sample_rate() -> None:
    assert AudioConfig(sample_rate=16000).fmax == 8000


def test_fingerprint_is_the_same_in_every_process() -> None:
    code = "from audio.config import AudioConfig; print(AudioConfig(n_mels=80).fingerprint)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == AudioConfig(n_mels=80).fingerprint


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(AudioConfig)])
def test_every_field_changes_the_fingerprint(field: str) -> None:
    other: dict[str, Any] = {
        "channels": "left",
        "n_fft": 1024,
        "fmin": 20.0,
        "fmax": 8000.0,
        "loudness_lufs": -20.0,
        "trim_silence_db": -60.0,
        "log_floor": 1e-9,
    }
    value = other[field] if field in other else getattr(AudioConfig(), field) - 1
    changed = AudioConfig(**{field: value})
    assert changed.fingerprint != AudioConfig().fingerprint


def test_whole_and_decimal_numbers_are_one_configuration() -> None:
    assert AudioConfig(fmin=30, fmax=8000) == AudioConfig(fmin=30.0, fmax=8000.0)
    assert (
        AudioConfig(fmin=30, fmax=8000).fingerprint
        == AudioConfig(fmin=30.0, fmax=8000.0).fingerprint
    )


def test_json_gives_the_same_configuration_back() -> None:
    config = AudioConfig(n_mels=80, fmin=40, log_floor=1e-5)
    assert AudioConfig.from_json(config.to_json()) == config


def test_unknown_key_in_json_is_refused() -> None:
    with pytest.raises(UsageError, match="hop_size"):
        AudioConfig.from_json(json.dumps({"hop_size": 512}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sample_rate", 0),
        ("sample_rate", 22050.0),
        ("n_fft", 2047),
        ("hop_length", 0),
        ("hop_length", 4096),
        ("n_mels", 0),
        ("n_mels", True),
        ("fmin", -1),
        ("fmin", 12000),
        ("fmax", 11026),
        ("log_floor", 0),
        ("channels", "both"),
        ("log_floor", float("nan")),
    ],
)
def test_value_out_of_range_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"audio\.{field}"):
        AudioConfig(**{field: value})


@pytest.mark.parametrize(("n_samples", "frames"), [(1, 1), (511, 1), (512, 2), (22050, 44)])
def test_n_frames_of_centred_frames(n_samples: int, frames: int) -> None:
    assert AudioConfig().n_frames(n_samples) == frames


def test_frames_for_covers_the_duration() -> None:
    assert AudioConfig().frames_for(10.0) == 431  # 430.66
