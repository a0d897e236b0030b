"""Windows: equal stretches of frames, cut from a longer one without copying."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audio.errors import AudioError


def slice_windows(
    frames: npt.NDArray[np.floating], *, window_frames: int, stride: int
) -> npt.NDArray[np.floating]:
    """Returns the windows that fit wholly into frames; what is left over is not padded.

        frames   0 1 2 3 4 5 6 7          window_frames=4, stride=3
                 [- - - -]
                       [- - - -]          frame 7 stands in no window

    Args:
      frames: [n_frames, n_mels].
      window_frames: frames of one window.
      stride: frames from one window's start to the next one's.

    Returns:
      A read-only view [n_windows, window_frames, n_mels]; n_windows is 0 where none fits.

    Raises:
      AudioError: frames is not two-dimensional, or a length is below 1.
    """
    if frames.ndim != 2:
        raise AudioError(f"wanted frames [n_frames, n_mels], got shape {frames.shape}")
    if window_frames < 1 or stride < 1:
        raise AudioError(
            f"wanted window_frames and stride of at least 1, got {window_frames} and {stride}"
        )
    if len(frames) < window_frames:
        return np.empty((0, window_frames, frames.shape[1]), frames.dtype)
    view = np.lib.stride_tricks.sliding_window_view(frames, window_frames, axis=0)
    return view[::stride].transpose(0, 2, 1)
