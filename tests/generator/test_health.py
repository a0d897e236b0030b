import numpy as np
import pytest

from audio.config import AudioConfig
from audio.mel import log_mel
from generator.health import check_frames, check_loudness, combine_sections
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
        # Half a second of it, again and again; a breath of noise does not hide that.
        (np.tile(MUSIC[40:62], (12, 1)), ["looping"]),
        (np.tile(MUSIC[40:62], (12, 1)) + NOISE, ["looping"]),
    ],
)
def test_faults_are_named(frames: np.ndarray, faults: list[str]) -> None:
    assert check_frames(frames, CONFIG)["faults"] == faults


@pytest.mark.parametrize(
    ("loudness", "wanted", "faults"),
    [
        (-23.0, -23.0, []),
        (-37.0, -23.0, []),
        (-39.0, -23.0, ["quiet"]),
        (-39.0, None, []),
        (-51.0, None, ["quiet"]),
        (None, None, ["quiet"]),
    ],
)
def test_a_clip_too_quiet_to_hear_is_a_fault(
    loudness: float | None, wanted: float | None, faults: list[str]
) -> None:
    assert check_loudness(loudness, wanted) == faults


def test_a_clip_has_the_faults_of_all_its_sections_and_their_mean_figures() -> None:
    sections = [
        {"flux": 0.1, "faults": ["looping"]},
        {"flux": 0.3, "faults": []},
        {"flux": 0.2, "faults": ["silent", "looping"]},
    ]
    assert combine_sections(sections) == {"flux": 0.2, "faults": ["looping", "silent"]}
    # Where a section is not finite, there are no figures.
    assert combine_sections([*sections, {"faults": ["not_finite"]}])["faults"] == [
        "looping",
        "silent",
        "not_finite",
    ]
