"""Making a batch of clips: rollout, health, another attempt, vocoder, file, entry."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from audio import encode
from audio.codec import read_mono
from audio.errors import AudioError, InputError
from audio.finish import finish
from audio.mel import log_mel
from audio.vocoder import find_vocoder
from generator.health import examine, examine_sound
from generator.inference import Model, load_model, roll_out
from generator.outputs import Output, open_output
from generator.requests import ClipRequest, GenerateSettings, choose_primer, derive_seed

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
            if faults and attempt + 1 < settings.attempts:
                waiting.append(request)
                continue
            entries[request.index] = _keep(place, request, made)
    for request in requests:
        entry = entries[request.index]
        assert entry is not None
        yield entry


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Made:
    content: bytes
    entry: dict[str, Any]


def _make(
    requests: Sequence[ClipRequest], model_path: str, settings: GenerateSettings
) -> Iterator[_Made]:
    model = cached_model(model_path)
    primers, sources = _primers(model, requests, settings)
    rollouts = roll_out(
        model,
        primers,
        seeds=[request.seed for request in requests],
        n_frames=model.audio.frames_for(settings.seconds) + 1,
        temperature=settings.temperature,
        spread=settings.spread,
        noise_floor=settings.noise_floor,
    )
    for request, frames, source in zip(requests, rollouts, sources, strict=True):
        yield _render(request, frames, json.loads(source), model, settings)


def _render(
    request: ClipRequest,
    frames: npt.NDArray[np.float32],
    primer: dict[str, Any],
    model: Model,
    settings: GenerateSettings,
) -> _Made:
    audio = model.audio
    entry = {"index": request.index, "seed": request.seed, "primer": primer}
    health = examine(frames, audio)
    if health["faults"]:
        return _Made(content=b"", entry={**entry, "health": health})
    samples = find_vocoder(settings.vocoder, audio)(
        frames, audio, rng=np.random.default_rng(request.seed), iterations=settings.iterations
    )
    rate = encode.sample_rate_for(settings.format, settings.sample_rate or audio.sample_rate)
    made = finish(
        samples[: round(settings.seconds * audio.sample_rate)],
        sample_rate=audio.sample_rate,
        new_rate=rate,
        fade_seconds=settings.fade_seconds,
        loudness_lufs=settings.loudness_lufs,
        true_peak_db=settings.true_peak_db,
    )
    health["faults"] = examine_sound(made, settings.loudness_lufs)
    tags = {
        "title": request.name,
        "artist": f"Nocturne, model {model.info['model_id']}",
        "comment": f"seed {request.seed}",
        "date": settings.date,
        "software": "Nocturne",
    }
    content = encode.encode(
        made.samples,
        sample_rate=rate,
        name=settings.format,
        tags={name: text for name, text in tags.items() if text},
    )
    figures = {
        "loudness_lufs": made.loudness_lufs,
        "true_peak_db": made.true_peak_db,
        "gain_db": made.gain_db,
    }
    entry |= {
        "file": f"{request.name}{encode.FORMATS[settings.format].ending}",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "crc32c": int(google_crc32c.value(content)),
        "duration_seconds": len(made.samples) / rate,
        "sample_rate": rate,
        "health": health,
        **{name: value if value is None else round(value, 3) for name, value in figures.items()},
    }
    return _Made(content=content, entry=entry)


def _keep(place: Output, request: ClipRequest, made: _Made) -> dict[str, Any]:
    """Publishes a clip and its entry; of one that is not well, the entry alone."""
    entry = made.entry
    if entry["health"]["faults"]:
        entry = {k: entry[k] for k in ("index", "seed", "primer", "health", "attempts")}
    else:
        place.publish(entry["file"], made.content)
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
    if "file" in entry and place.checksum(entry["file"]) != entry["crc32c"]:
        return None
    return entry


def _primers(
    model: Model, requests: Sequence[ClipRequest], settings: GenerateSettings
) -> tuple[npt.NDArray[np.float32], list[str]]:
    if settings.primer:
        frames = primer_from_file(settings.primer, model)
        source = json.dumps({"file": settings.primer})
        return np.stack([frames] * len(requests)), [source] * len(requests)
    chosen = [choose_primer(request.seed, len(model.primers)) for request in requests]
    return model.primers[chosen], [model.primer_sources[index] for index in chosen]


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
