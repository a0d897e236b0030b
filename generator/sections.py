"""Rollouts of any length in bounded memory: in sections, each of which continues the one before.

primer | section 0 ......................| section 1 ......................| section 2 ...
         continues the primer              continues the end of section 0
         keeps the style of the primer     keeps the style of the primer

All sections keep the style of the clip's primer, so that even an hour stays close to it.
"""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from generator import requests
from generator.inference import Model, roll_out
from generator.requests import GenerateSettings
from storage import faults

Float32 = npt.NDArray[np.float32]

# Frames of a section that prime the next one, 6 s: as far as the model's inputs look back
# (trainer/model/inputs.py).
_CONTEXT_FRAMES = 256


@contextmanager
def roll_out_sections(
    model: Model,
    primers: Float32,
    *,
    anchors: Float32,
    seeds: Sequence[int],
    settings: GenerateSettings,
) -> Iterator[list[Float32]]:
    """Yields the frames of a batch of clips, as a list of sections.

    If there are several sections, they are in temporary files, which the end of the block removes.

    Args:
      model: Loaded model.
      primers: Frames that the first section continues, natural-log mel [n_clips, n, n_mels].
      anchors: Frames whose style all sections keep, natural-log mel [n_clips, m, n_mels].
      seeds: Seed of each clip.
      settings: Settings of the generation run.

    Yields:
      Natural-log mel of each section, float32 [n_clips, n_frames, n_mels].
    """
    lengths = section_lengths(model.audio.frames_for(settings.seconds) + 1, model)
    with tempfile.TemporaryDirectory(prefix="nocturne-") as folder:
        sections: list[Float32] = []
        context = primers
        for index, n_frames in enumerate(lengths):
            frames = roll_out(
                model,
                context,
                anchors=anchors,
                seeds=[section_seed(seed, index) for seed in seeds],
                n_frames=n_frames,
                temperature=settings.temperature,
            )
            # A rollout that diverged is not finite. The checks will find that fault in it.
            context = np.nan_to_num(frames[:, -_CONTEXT_FRAMES:])
            sections.append(frames if len(lengths) == 1 else _map_to_file(frames, folder, index))
        yield sections


def section_lengths(n_frames: int, model: Model) -> list[int]:
    """Returns the numbers of frames of a clip's sections, the last of which may be longer."""
    section_frames = model.audio.frames_for(requests.SECTION_SECONDS)
    count = max(1, n_frames // section_frames)
    return [section_frames] * (count - 1) + [n_frames - section_frames * (count - 1)]


def section_seed(seed: int, index: int) -> int:
    """Returns the seed of a section; the first one has the seed of the clip."""
    return requests.hash_text(f"nocturne section {seed} {index}") >> 1 if index else seed


def _map_to_file(frames: Float32, folder: str, index: int) -> Float32:
    path = pathlib.Path(folder, f"{index}.npy")
    with faults.named(str(path)):
        np.save(path, frames)
    mapped: Float32 = np.load(path, mmap_mode="r")
    return mapped
