import numpy as np
import pytest

from audio.config import AudioConfig
from audio.mel import log_mel
from generator.health import check_frames, check_loudness, combine_sections, find_warnings
from tests.support import signals

CONFIG = AudioConfig()
MUSIC = log_mel(signals.tune(seconds=4), CONFIG)
NOISE = np.random.default_rng(0).normal(0, 0.05, (264, 128)).astype(np.float32)


@pytest.mark.parametrize(
    ("frames", "faults"),
    [
        (MUSIC, []),
        (np.full_like(MUSIC, -20), ["silent", "frozen"]),
        (np.full_like(MUSIC, np.nan), ["not_finite"]),
        (np.repeat(MUSIC[20:21], len(MUSIC), axis=0), ["frozen"]),
        (MUSIC + 10, ["diverged"]),
        # Half a second, repeated; a little noise does not hide that.
        (np.tile(MUSIC[40:62], (12, 1)), ["looping"]),
        (np.tile(MUSIC[40:62], (12, 1)) + NOISE, ["looping"]),
    ],
)
def test_check_frames_finds_each_fault(frames: np.ndarray, faults: list[str]) -> None:
    assert check_frames(frames, CONFIG)["faults"] == faults


@pytest.mark.parametrize(
    ("loudness", "target", "faults"),
    [
        (-23.0, -23.0, []),
        (-37.0, -23.0, []),
        (-39.0, -23.0, ["quiet"]),
        (-39.0, None, []),
        (-51.0, None, ["quiet"]),
        (None, None, ["quiet"]),
    ],
)
def test_check_loudness_finds_clips_that_are_too_quiet(
    loudness: float | None, target: float | None, faults: list[str]
) -> None:
    assert check_loudness(loudness, target) == faults


def test_clips_that_are_less_tonal_than_the_training_music_get_warnings() -> None:
    limits = {"tone_100ms": 0.3, "tone_500ms": 0.1}
    tune = combine_sections([check_frames(MUSIC, CONFIG)])
    noise = check_frames(
        log_mel(np.random.default_rng(0).normal(0, 0.1, 88200).astype(np.float32), CONFIG), CONFIG
    )
    assert find_warnings(tune, limits) == []
    assert find_warnings(noise, limits) == ["noisy", "no steady tone"]
    assert find_warnings({"tone_100ms": 0.6, "tone_500ms": 0.05}, limits) == ["no steady tone"]
    assert find_warnings(noise, {}) == [], "a model of an earlier version has no limits"
    assert find_warnings({"faults": ["not_finite"]}, limits) == []


def test_combine_sections_gives_all_faults_and_mean_figures() -> None:
    sections = [
        {"flux": 0.1, "faults": ["looping"]},
        {"flux": 0.3, "faults": []},
        {"flux": 0.2, "faults": ["silent", "looping"]},
    ]
    assert combine_sections(sections) == {"flux": 0.2, "faults": ["looping", "silent"]}
    # A section that is not finite has no figures.
    assert combine_sections([*sections, {"faults": ["not_finite"]}])["faults"] == [
        "looping",
        "silent",
        "not_finite",
    ]
