import numpy as np
import pytest

from audio.config import AudioConfig
from audio.mel import log_mel
from generator.health import examine
from tests import signals

CONFIG = AudioConfig()
MUSIC = log_mel(signals.tune(seconds=4), CONFIG)


@pytest.mark.parametrize(
    ("frames", "faults"),
    [
        (MUSIC, []),
        (np.full_like(MUSIC, -20), ["silent", "frozen"]),
        (np.full_like(MUSIC, np.nan), ["not_finite"]),
        (np.repeat(MUSIC[20:21], len(MUSIC), axis=0), ["frozen"]),
        (MUSIC + 10, ["diverged"]),
    ],
)
def test_faults_are_named(frames: np.ndarray, faults: list[str]) -> None:
    assert examine(frames, CONFIG)["faults"] == faults
