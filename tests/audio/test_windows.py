import numpy as np
import pytest

from audio.errors import AudioError
from audio.windows import slice_windows

FRAMES = np.arange(16, dtype=np.float32).reshape(8, 2)


def test_windows_are_the_frames_in_order() -> None:
    windows = slice_windows(FRAMES, window_frames=4, stride=3)
    np.testing.assert_array_equal(windows, np.stack([FRAMES[0:4], FRAMES[3:7]]))


def test_what_is_left_over_is_not_padded() -> None:
    assert slice_windows(FRAMES, window_frames=5, stride=5).shape == (1, 5, 2)


def test_frames_shorter_than_a_window_give_none() -> None:
    assert slice_windows(FRAMES, window_frames=9, stride=1).shape == (0, 9, 2)


def test_windows_are_a_view() -> None:
    assert np.shares_memory(slice_windows(FRAMES, window_frames=2, stride=1), FRAMES)


@pytest.mark.parametrize(("window_frames", "stride"), [(0, 1), (1, 0)])
def test_lengths_below_one_are_refused(window_frames: int, stride: int) -> None:
    with pytest.raises(AudioError, match="at least 1"):
        slice_windows(FRAMES, window_frames=window_frames, stride=stride)


def test_frames_of_another_shape_are_refused() -> None:
    with pytest.raises(AudioError, match=r"\(16,\)"):
        slice_windows(FRAMES.ravel(), window_frames=2, stride=1)
