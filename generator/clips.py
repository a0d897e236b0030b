"""Making a batch of clips: rollout, checks, further attempts, files and manifest entries."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from audio.codec import read_mono
from audio.errors import AudioError, InputError
from audio.mel import log_mel
from generator.inference import Model, load_model
from generator.render import RenderedClip, render
from generator.requests import NO_PRIMER, ClipRequest, GenerateSettings, choose_primer, derive_seed
from generator.sections import roll_out_sections
from storage import faults
from storage.outputs import Output, open_output

STAGING = ".staging"


@functools.lru_cache(maxsize=1)
def cached_model(path: str) -> Model:
    """Returns the model of a path, which each process loads once."""
    return load_model(path)


def make_clips(
    requests: Sequence[ClipRequest], *, model_path: str, output: str, settings: GenerateSettings
) -> Iterator[dict[str, Any]]:
    """Makes the clips of a batch that do not exist yet, and yields the entries of all.

    A clip with a fault is attempted again with its next seed, up to settings.attempts times. If the
    last attempt has a fault as well, the entry has no file.
    """
    folder = open_output(output)
    entries = {request.index: read_finished(folder, request) for request in requests}
    waiting = [request for request in requests if entries[request.index] is None]
    attempts: dict[int, list[dict[str, Any]]] = {request.index: [] for request in waiting}
    for attempt in range(settings.attempts):
        if not waiting:
            break
        retries = [
            dataclasses.replace(
                request, seed=derive_seed(settings.seed, request.index, attempt=attempt)
            )
            for request in waiting
        ]
        waiting = []
        clips = _render_batch(retries, model_path, settings)
        for request, clip in zip(retries, clips, strict=True):
            faults = clip.entry["health"]["faults"]
            attempts[request.index].append({"seed": request.seed, "faults": faults})
            clip.entry["attempts"] = attempts[request.index]
            with contextlib.closing(clip):
                if faults and attempt + 1 < settings.attempts:
                    waiting.append(request)
                else:
                    entries[request.index] = _publish(folder, request, clip)
    for request in requests:
        entry = entries[request.index]
        assert entry is not None
        yield entry


def _render_batch(
    requests: Sequence[ClipRequest], model_path: str, settings: GenerateSettings
) -> Iterator[RenderedClip]:
    model = cached_model(model_path)
    anchors, sources = _choose_primers(model, requests, settings)
    primers = anchors
    if settings.primer == NO_PRIMER:
        # One frame that is no music, the mean of the model's own primers, starts each clip.
        mean = model.primers.mean(axis=(0, 1), keepdims=True)
        primers = np.repeat(mean, len(requests), axis=0)
    seeds = [request.seed for request in requests]
    with roll_out_sections(
        model, primers, anchors=anchors, seeds=seeds, settings=settings
    ) as sections:
        for row, (request, source) in enumerate(zip(requests, sources, strict=True)):
            frames = [section[row] for section in sections]
            yield render(request, frames, json.loads(source), model, settings)


def _publish(folder: Output, request: ClipRequest, clip: RenderedClip) -> dict[str, Any]:
    """Publishes the files and the entry of a clip, or for one with faults the entry alone."""
    entry = clip.entry
    if entry["health"]["faults"]:
        entry = {k: entry[k] for k in ("index", "seed", "primer", "health", "attempts")}
    else:
        for name, content in clip.files.items():
            folder.publish(name, content)
    folder.publish(_entry_name(request), json.dumps(entry, sort_keys=True).encode())
    return entry


def _entry_name(request: ClipRequest) -> str:
    return f"{STAGING}/{request.name}.json"


def read_finished(folder: Output, request: ClipRequest) -> dict[str, Any] | None:
    """Returns the entry of a finished clip; None if it or one of its files is missing."""
    content = folder.read(_entry_name(request))
    if content is None:
        return None
    entry: dict[str, Any] = json.loads(content)
    files = [file for file in (entry, entry.get("picture")) if file and "file" in file]
    intact = all(folder.checksum(file["file"]) == file["crc32c"] for file in files)
    return entry if intact else None


def _choose_primers(
    model: Model, requests: Sequence[ClipRequest], settings: GenerateSettings
) -> tuple[npt.NDArray[np.float32], list[str]]:
    """Returns a primer for each clip, [n_clips, n_frames, n_mels], and its source as JSON."""
    if settings.primer and settings.primer != NO_PRIMER:
        frames = read_primer(settings.primer, model)
        source = json.dumps({"file": settings.primer})
        return np.stack([frames] * len(requests)), [source] * len(requests)
    indices = [choose_primer(request.seed, len(model.primers)) for request in requests]
    return model.primers[indices], [model.primer_sources[index] for index in indices]


def read_primer(path: str, model: Model) -> npt.NDArray[np.float32]:
    """Returns the middle of an audio file as frames, as many as the model's own primers have.

    Raises:
      InputError: The file does not exist, is not audio, or is too short.
    """
    folder, _, name = path.rpartition("/")
    try:
        content = open_output(folder or ".").read(name)
        if content is None:
            raise InputError(f"primer {path}: there is no such file.")
        samples = read_mono(
            io.BytesIO(content),
            sample_rate=model.audio.sample_rate,
            channels=model.audio.channels,
            loudness_lufs=model.audio.loudness_lufs,
        )
    except (OSError, AudioError) as error:
        if isinstance(error, OSError) and not faults.is_about_one_file(error):
            raise faults.unreadable(error, path) from error
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"primer {path}: {reason}. Give a readable audio file.") from error
    n_frames = model.primers.shape[1]
    frames = log_mel(samples, model.audio) if len(samples) else np.empty((0, model.audio.n_mels))
    if len(frames) < n_frames:
        raise InputError(
            f"primer {path}: too short; wanted at least "
            f"{n_frames / model.audio.frames_per_second:.1f} s, "
            f"got {len(samples) / model.audio.sample_rate:.1f} s."
        )
    start = (len(frames) - n_frames) // 2
    return frames[start : start + n_frames].astype(np.float32)
