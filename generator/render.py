"""From the frames of a clip, of any length, to its files and its entry in the manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
import numpy.typing as npt

from audio import encode
from audio.config import AudioConfig
from audio.errors import UsageError
from audio.finish import LevelMeter, resample_and_fade
from audio.picture import spectrogram_png
from audio.vocoder import StreamingVocoder, Vocoder, find_vocoder
from generator import requests
from generator.health import check_frames, check_loudness, combine_sections, find_warnings
from generator.inference import Model
from generator.requests import ClipRequest, GenerateSettings
from storage import faults

Float32 = npt.NDArray[np.float32]

# A temporary file is kept in memory up to this size, bytes.
_MAX_IN_MEMORY = 64 << 20
# Number of samples, or of bytes of a finished file, that are read at a time.
_BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenderedClip:
    """One attempt at a clip.

    Attributes:
      files: Files to publish, by name; none if the frames have faults.
      entry: Entry for the manifest.
    """

    files: dict[str, BinaryIO]
    entry: dict[str, Any]

    def close(self) -> None:
        """Closes the files."""
        for file in self.files.values():
            file.close()


def choose_vocoder(settings: GenerateSettings, audio: AudioConfig) -> Vocoder:
    """Returns the vocoder of a run.

    Raises:
      UsageError: There is no vocoder of that name, or it cannot make clips that long.
      ConfigMismatchError: The vocoder was made for another front end.
    """
    vocoder = find_vocoder(settings.vocoder, audio)
    longest = requests.SECTION_SECONDS
    if settings.seconds > longest and not isinstance(vocoder, StreamingVocoder):
        raise UsageError(
            f"generate.vocoder: {settings.vocoder} makes clips of at most {longest:g} s, got "
            f"generate.seconds={settings.seconds:g}. Use griffin-lim for longer clips."
        )
    return vocoder


def render(
    request: ClipRequest,
    sections: Sequence[Float32],
    primer: dict[str, Any],
    model: Model,
    settings: GenerateSettings,
) -> RenderedClip:
    """Turns the frames of a clip into sound and, if it is asked for, a spectrogram.

    Args:
      request: The clip.
      sections: Frames of its sections, natural-log mel [n_frames, n_mels] each.
      primer: Source of its primer, for the manifest.
      model: Model that made the frames.
      settings: Settings of the generation run.
    """
    audio = model.audio
    entry = {"index": request.index, "seed": request.seed, "primer": primer}
    health = combine_sections([check_frames(section, audio) for section in sections])
    health["warnings"] = find_warnings(health, model.info.get("tonality", {}))
    if settings.reject_warnings:
        health["faults"] += health["warnings"]
    if health["faults"]:
        return RenderedClip(files={}, entry={**entry, "health": health})
    rate = encode.sample_rate_for(settings.format, settings.sample_rate or audio.sample_rate)
    meter = LevelMeter(rate)
    with _temporary_file() as file, _watching(file) as raw:
        n_samples = 0
        for piece in resample_and_fade(
            _take_samples(
                _vocode(request.seed, sections, audio, settings),
                round(settings.seconds * audio.sample_rate),
            ),
            sample_rate=audio.sample_rate,
            new_rate=rate,
            fade_seconds=requests.FADE_SECONDS,
        ):
            meter.push(piece)
            raw.write(np.ascontiguousarray(piece).tobytes())
            n_samples += len(piece)
        levels = meter.levels(
            loudness_lufs=settings.loudness_lufs, true_peak_db=requests.TRUE_PEAK_DB
        )
        health["faults"] = check_loudness(levels.loudness_lufs, settings.loudness_lufs)
        content = _temporary_file()
        with _watching(content) as watched:
            encode.encode(
                (piece * levels.gain for piece in _read_samples(raw)),
                watched,
                sample_rate=rate,
                format_name=settings.format,
                tags=_tags(request, model, settings),
            )
    name = f"{request.name}{encode.FORMATS[settings.format].suffix}"
    files: dict[str, BinaryIO] = {name: content}
    entry |= {
        "file": name,
        **_checksums(content),
        "duration_seconds": n_samples / rate,
        "sample_rate": rate,
        "health": health,
        "loudness_lufs": levels.loudness_lufs and round(levels.loudness_lufs, 3),
        "true_peak_db": round(levels.true_peak_db, 3),
        "gain_db": round(levels.gain_db, 3),
    }
    if settings.pictures:
        picture = f"{request.name}.png"
        files[picture] = io.BytesIO(spectrogram_png(sections, audio))
        entry["picture"] = {"file": picture, **_checksums(files[picture])}
    return RenderedClip(files=files, entry=entry)


def _vocode(
    seed: int, sections: Sequence[Float32], audio: AudioConfig, settings: GenerateSettings
) -> Iterator[Float32]:
    vocoder = choose_vocoder(settings, audio)
    rng, iterations = np.random.default_rng(seed), settings.iterations
    if isinstance(vocoder, StreamingVocoder):
        yield from vocoder.pieces(sections, audio, rng=rng, iterations=iterations)
    else:
        (frames,) = sections
        yield vocoder(frames, audio, rng=rng, iterations=iterations)


def _take_samples(pieces: Iterable[Float32], n_samples: int) -> Iterator[Float32]:
    """Yields pieces of sound, up to n_samples in all."""
    for piece in pieces:
        if n_samples <= 0:
            return
        yield piece[:n_samples]
        n_samples -= len(piece)


def _temporary_file() -> Any:
    """Returns a temporary file that stays in memory while it is small."""
    return tempfile.SpooledTemporaryFile(max_size=_MAX_IN_MEMORY, prefix="nocturne-")


def _watching(file: Any) -> contextlib.AbstractContextManager[BinaryIO]:
    """Watches a temporary file, because libsndfile's encoders ignore a full disk."""
    path = f"a temporary file in {tempfile.gettempdir()}"
    explain = functools.partial(faults.unwritable, path=path)
    return faults.watching(file, explain)


def _read_samples(raw: BinaryIO) -> Iterator[Float32]:
    raw.seek(0)
    while block := raw.read(4 * _BLOCK):
        yield np.frombuffer(block, np.float32)


def _checksums(content: BinaryIO) -> dict[str, Any]:
    """Returns the size, SHA-256 and CRC-32C of a file, as the manifest has them."""
    sha256, crc32c, size = hashlib.sha256(), 0, 0
    content.seek(0)
    while block := content.read(_BLOCK):
        sha256.update(block)
        crc32c = google_crc32c.extend(crc32c, block)
        size += len(block)
    return {"bytes": size, "sha256": sha256.hexdigest(), "crc32c": int(crc32c)}


def _tags(request: ClipRequest, model: Model, settings: GenerateSettings) -> dict[str, str]:
    tags = {
        "title": request.name,
        "artist": f"Nocturne, model {model.info['model_id']}",
        "comment": f"seed {request.seed}",
        "date": settings.date,
        "software": "Nocturne",
    }
    return {name: text for name, text in tags.items() if text}
