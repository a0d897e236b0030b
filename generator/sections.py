"""Rollouts of any length in bounded memory: in sections, each going on from the end of the last.

primer | section 0 ......................| section 1 ......................| section 2 ...
         hears the primer                  hears the end of section 0
         keeps the style of the primer     keeps the style of the primer

All sections keep the style of the clip's primer, so that an hour does not wander off.
"""

from __future__ import annotations

import hashlib
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from generator import requests
from generator.inference import Model, roll_out
from generator.requests import GenerateSettings

Float32 = npt.NDArray[np.float32]

# Of the section before, heard again: all that inputs look back over (trainer/model/inputs.py), 6 s.
_HEARD_FRAMES = 256


@contextmanager
def rolled_out(
    model: Model,
    primers: Float32,
    *,
    anchors: Float32,
    seeds: Sequence[int],
    settings: GenerateSettings,
) -> Iterator[list[Float32]]:
    """Gives the frames of a batch of clips, section by section.

    Sections other than an only one are kept in temporary files, while the block runs.

    Args:
      model: a loaded model.
      primers: what the first section goes on from, natural-log mel [n_clips, n, n_mels].
      anchors: whose style all sections keep, natural-log mel [n_clips, m, n_mels].
      seeds: one a clip.
      settings: of the run.

    Returns:
      Of each section, natural-log mel float32 [n_clips, n_frames, n_mels].
    """
    lengths = section_lengths(model.audio.frames_for(settings.seconds) + 1, model)
    with tempfile.TemporaryDirectory(prefix="nocturne-") as folder:
        sections: list[Float32] = []
        heard = primers
        for index, n_frames in enumerate(lengths):
            made = roll_out(
                model,
                heard,
                anchors=anchors,
                seeds=[section_seed(seed, index) for seed in seeds],
                n_frames=n_frames,
                temperature=settings.temperature,
            )
            # Of a model that diverged nothing can be heard again; health will say so.
            heard = np.nan_to_num(made[:, -_HEARD_FRAMES:])
            sections.append(made if len(lengths) == 1 else _spilled(made, folder, index))
        yield sections


def section_lengths(n_frames: int, model: Model) -> list[int]:
    """Returns how many frames each section of a clip of n_frames has; the last may be longer."""
    usual = model.audio.frames_for(requests.SECTION_SECONDS)
    count = max(1, n_frames // usual)
    return [usual] * (count - 1) + [n_frames - usual * (count - 1)]


def section_seed(seed: int, index: int) -> int:
    """Returns the seed of a section; that of the first is the clip's."""
    if index == 0:
        return seed
    digest = hashlib.sha256(f"nocturne section {seed} {index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _spilled(frames: Float32, folder: str, index: int) -> Float32:
    path = pathlib.Path(folder, f"{index}.npy")
    np.save(path, frames)
    kept: Float32 = np.load(path, mmap_mode="r")
    return kept
