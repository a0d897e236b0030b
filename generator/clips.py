"""Making a batch of clips: rollout, health, another attempt, vocoder, file, entry."""

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
from generator.render import Made, render
from generator.requests import NO_PRIMER, ClipRequest, GenerateSettings, choose_primer, derive_seed
from generator.sections import rolled_out
from storage.outputs import Output, open_output

STAGING = ".staging"


@functools.lru_cache(maxsize=1)
def cached_model(path: str) -> Model:
    """Returns the model, loaded once per process."""
    return load_model(path)


def make_clips(
    requests: Sequence[ClipRequest], *, model_path: str, output: str, settings: GenerateSettings
) -> Iterator[dict[str, Any]]:
    """Makes the clips of one batch that are not there yet; yields the entries of all.

    A clip with a fault is made again with its next seed, settings.attempts times in all. One that
    never got well has an entry without a file.
    """
    place = open_output(output)
    entries = {request.index: finished(place, request) for request in requests}
    waiting = [request for request in requests if entries[request.index] is None]
    tried: dict[int, list[dict[str, Any]]] = {request.index: [] for request in waiting}
    for attempt in range(settings.attempts):
        if not waiting:
            break
        again = [
            dataclasses.replace(
                request, seed=derive_seed(settings.seed, request.index, attempt=attempt)
            )
            for request in waiting
        ]
        waiting = []
        for request, made in zip(again, _make(again, model_path, settings), strict=True):
            faults = made.entry["health"]["faults"]
            tried[request.index].append({"seed": request.seed, "faults": faults})
            made.entry["attempts"] = tried[request.index]
            with contextlib.closing(made):
                if faults and attempt + 1 < settings.attempts:
                    waiting.append(request)
                else:
                    entries[request.index] = _keep(place, request, made)
    for request in requests:
        entry = entries[request.index]
        assert entry is not None
        yield entry


def _make(
    requests: Sequence[ClipRequest], model_path: str, settings: GenerateSettings
) -> Iterator[Made]:
    model = cached_model(model_path)
    primers, sources = _primers(model, requests, settings)
    seeds = [request.seed for request in requests]
    heard = _nothing(model, len(requests)) if settings.primer == NO_PRIMER else primers
    with rolled_out(model, heard, anchors=primers, seeds=seeds, settings=settings) as sections:
        for row, (request, source) in enumerate(zip(requests, sources, strict=True)):
            frames = [section[row] for section in sections]
            yield render(request, frames, json.loads(source), model, settings)


def _keep(place: Output, request: ClipRequest, made: Made) -> dict[str, Any]:
    """Publishes a clip and its entry; of one that is not well, the entry alone."""
    entry = made.entry
    if entry["health"]["faults"]:
        entry = {k: entry[k] for k in ("index", "seed", "primer", "health", "attempts")}
    else:
        for name, content in made.files.items():
            place.publish(name, content)
    place.publish(_entry_name(request), json.dumps(entry, sort_keys=True).encode())
    return entry


def _entry_name(request: ClipRequest) -> str:
    return f"{STAGING}/{request.name}.json"


def finished(place: Output, request: ClipRequest) -> dict[str, Any] | None:
    """Returns the entry of a clip that an earlier attempt finished, if its file is still whole."""
    text = place.read(_entry_name(request))
    if text is None:
        return None
    entry: dict[str, Any] = json.loads(text)
    files = [entry[kind] for kind in ("picture",) if entry.get(kind)]
    files += [entry] if "file" in entry else []
    whole = all(place.checksum(each["file"]) == each["crc32c"] for each in files)
    return entry if whole else None


def _primers(
    model: Model, requests: Sequence[ClipRequest], settings: GenerateSettings
) -> tuple[npt.NDArray[np.float32], list[str]]:
    if settings.primer and settings.primer != NO_PRIMER:
        frames = primer_from_file(settings.primer, model)
        source = json.dumps({"file": settings.primer})
        return np.stack([frames] * len(requests)), [source] * len(requests)
    chosen = [choose_primer(request.seed, len(model.primers)) for request in requests]
    return model.primers[chosen], [model.primer_sources[index] for index in chosen]


def _nothing(model: Model, count: int) -> npt.NDArray[np.float32]:
    """Returns one frame for each clip that is no music: the mean of the model's own primers."""
    mean = model.primers.mean(axis=(0, 1), keepdims=True)
    return np.repeat(mean, count, axis=0)


def primer_from_file(path: str, model: Model) -> npt.NDArray[np.float32]:
    """Returns the middle of an audio file as frames, as many as the model's own primers have.

    Raises:
      InputError: there is no such file, it is no audio, or too short.
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
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"primer {path}: {reason}. Give a readable audio file.") from error
    wanted = model.primers.shape[1]
    frames = log_mel(samples, model.audio) if len(samples) else np.empty((0, model.audio.n_mels))
    if len(frames) < wanted:
        raise InputError(
            f"primer {path}: too short; wanted at least "
            f"{wanted / model.audio.frames_per_second:.1f} s, "
            f"got {len(samples) / model.audio.sample_rate:.1f} s."
        )
    start = (len(frames) - wanted) // 2
    return frames[start : start + wanted].astype(np.float32)
