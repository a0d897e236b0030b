"""One clip, from its frames to a file and an entry of the manifest; of any length."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
import numpy.typing as npt

from audio import encode
from audio.config import AudioConfig
from audio.errors import UsageError
from audio.finish import Leveller, shaped
from audio.picture import spectrogram_png
from audio.vocoder import StreamingVocoder, Vocoder, find_vocoder
from generator import requests
from generator.health import examine, examine_sound, joined
from generator.inference import Model
from generator.requests import ClipRequest, GenerateSettings

Float32 = npt.NDArray[np.float32]

# What is larger goes to a temporary file.
_IN_MEMORY = 64 << 20
_BLOCK_SAMPLES = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """One attempt at a clip.

    Attributes:
      files: what is to be published, by name; none of a clip with faults.
      entry: of the manifest.
    """

    files: dict[str, BinaryIO]
    entry: dict[str, Any]

    def close(self) -> None:
        """Lets go of the files."""
        for file in self.files.values():
            file.close()


def vocoder_for(settings: GenerateSettings, audio: AudioConfig) -> Vocoder:
    """Returns the vocoder of a run.

    Raises:
      UsageError: there is none of that name, or it cannot make clips that long.
      ConfigMismatchError: it was made for another front end.
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
) -> Made:
    """Makes the files of a clip.

    Args:
      request: the clip.
      sections: its frames, natural-log mel [n_frames, n_mels] each.
      primer: what it was started with.
      model: that made them.
      settings: of the run.
    """
    audio = model.audio
    entry = {"index": request.index, "seed": request.seed, "primer": primer}
    health = joined([examine(section, audio) for section in sections])
    if health["faults"]:
        return Made(files={}, entry={**entry, "health": health})
    rate = encode.sample_rate_for(settings.format, settings.sample_rate or audio.sample_rate)
    leveller = Leveller(rate)
    with _store() as raw:
        n_samples = 0
        for piece in shaped(
            _first(
                _vocoded(request.seed, sections, audio, settings),
                round(settings.seconds * audio.sample_rate),
            ),
            sample_rate=audio.sample_rate,
            new_rate=rate,
            fade_seconds=requests.FADE_SECONDS,
        ):
            leveller.push(piece)
            raw.write(np.ascontiguousarray(piece).tobytes())
            n_samples += len(piece)
        levels = leveller.levels(
            loudness_lufs=settings.loudness_lufs, true_peak_db=requests.TRUE_PEAK_DB
        )
        health["faults"] = examine_sound(levels.loudness_lufs, settings.loudness_lufs)
        content = _store()
        encode.encode(
            (piece * levels.gain for piece in _read(raw)),
            content,
            sample_rate=rate,
            name=settings.format,
            tags=_tags(request, model, settings),
        )
    name = f"{request.name}{encode.FORMATS[settings.format].ending}"
    files: dict[str, BinaryIO] = {name: content}
    entry |= {
        "file": name,
        **_sums(content),
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
        entry["picture"] = {"file": picture, **_sums(files[picture])}
    return Made(files=files, entry=entry)


def _vocoded(
    seed: int, sections: Sequence[Float32], audio: AudioConfig, settings: GenerateSettings
) -> Iterator[Float32]:
    vocoder = vocoder_for(settings, audio)
    rng, iterations = np.random.default_rng(seed), settings.iterations
    if isinstance(vocoder, StreamingVocoder):
        yield from vocoder.pieces(sections, audio, rng=rng, iterations=iterations)
    else:
        (frames,) = sections
        yield vocoder(frames, audio, rng=rng, iterations=iterations)


def _first(pieces: Iterable[Float32], n_samples: int) -> Iterator[Float32]:
    """Yields the first n_samples of pieces."""
    for piece in pieces:
        if n_samples <= 0:
            return
        yield piece[:n_samples]
        n_samples -= len(piece)


def _store() -> Any:
    """Returns a file that is small in memory, and large on disk."""
    return tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, prefix="nocturne-")


def _read(raw: BinaryIO) -> Iterator[Float32]:
    raw.seek(0)
    while block := raw.read(4 * _BLOCK_SAMPLES):
        yield np.frombuffer(block, np.float32)


def _sums(content: BinaryIO) -> dict[str, Any]:
    """Returns bytes, sha256 and crc32c of a file."""
    sha256, crc32c, size = hashlib.sha256(), 0, 0
    content.seek(0)
    for block in itertools.takewhile(bool, iter(lambda: content.read(_BLOCK_SAMPLES), None)):
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
