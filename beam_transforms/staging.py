"""One source file -> its staged records on disk, or the reason why not.

Each source's result is a file of its own, named after what went in, with a small JSON beside it
that is written last. A second attempt (a retried bundle, a rerun after a kill) finds it and does
not decode again.
"""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
import stat
from collections.abc import Iterator
from typing import BinaryIO

from audio import contract
from audio.config import AudioConfig
from audio.errors import AudioError
from beam_transforms.card import summaries
from beam_transforms.examples import to_records, write_tfrecord
from beam_transforms.extract import extract_recording
from beam_transforms.settings import PrepareSettings, Reuse, Source, Staged
from storage import files

FOLDER = ".staging"
# What a recording's row has before it is planned.
RECORDING_FIELDS = (
    "recording_id",
    "sample_rate",
    "n_channels",
    "n_frames",
    "n_records",
    "n_bytes",
    "stretches",
    *contract.RECORDING_FIGURES,
)


def records_path(staging: str, key: str) -> str:
    """Where the records of one source are staged."""
    return files.join(staging, f"{key}.tfrecord")


def outcome_path(staging: str, key: str) -> str:
    """Where it stands what became of one source; written last."""
    return files.join(staging, f"{key}.json")


def stage_recording(
    source: Source,
    *,
    staging: str,
    audio: AudioConfig,
    settings: PrepareSettings,
    reuse: Reuse | None = None,
) -> Staged:
    """Prepares one source file, unless that was done before.

    Args:
      source: the file.
      staging: the folder for results.
      audio: the front end.
      settings: of the job.
      reuse: an earlier version's records of this very file; they are copied, nothing is decoded.

    Returns:
      What became of it; a file that cannot be used is an outcome, not an exception.
    """
    key = source.staging_key(audio, settings)
    outcome = outcome_path(staging, key)
    if files.exists(outcome):
        return Staged.from_json(files.read_text(outcome))
    if reuse:
        _copy_records(reuse, records_path(staging, key))
        staged = Staged(source=source, key=key, recording=reuse.recording)
        files.write_text(outcome, staged.to_json())
        return staged
    try:
        with _open_source(source) as file:
            recording = _stage_records(
                file, source, records_path(staging, key), audio=audio, settings=settings
            )
        staged = Staged(source=source, key=key, recording=recording)
    except (AudioError, OSError) as error:
        staged = Staged(source=source, key=key, rejection=_rejection(source, error))
    files.write_text(outcome, staged.to_json())
    return staged


def _stage_records(
    file: BinaryIO, source: Source, path: str, *, audio: AudioConfig, settings: PrepareSettings
) -> dict[str, object]:
    extracted = extract_recording(file, audio=audio, settings=settings)
    n_records = n_bytes = 0
    with files.atomic_file(path) as target:
        for record in to_records(extracted, source_uri=source.uri, audio=audio):
            n_bytes += write_tfrecord(target, record)
            n_records += 1
    return {
        "recording_id": extracted.recording_id,
        "sample_rate": extracted.sample_rate,
        "n_channels": extracted.n_channels,
        "n_frames": extracted.n_frames,
        "n_records": n_records,
        "n_bytes": n_bytes,
        "stretches": summaries(extracted),
        **{name: extracted.figures.get(name) for name in contract.RECORDING_FIGURES},
    }


def _copy_records(reuse: Reuse, path: str) -> None:
    with files.open_read(reuse.shard) as shard, files.atomic_file(path) as target:
        shard.seek(reuse.offset)
        target.write(shard.read(reuse.recording["n_bytes"]))


@contextlib.contextmanager
def _open_source(source: Source) -> Iterator[BinaryIO]:
    """Opens a regular file, or a copy of a remote object.

    Raises:
      AudioError: it is no regular file, or empty.
      OSError: it cannot be opened.
    """
    # Opening a FIFO would wait for a writer for ever.
    local = not files.is_remote(source.uri)
    if local and not stat.S_ISREG(pathlib.Path(source.uri).stat().st_mode):
        raise AudioError("not a regular file", remedy="Remove it from the input.")
    with files.open_local(source.uri) as file:
        if not file.read(1):
            raise AudioError("empty file", remedy="Copy or download it again, or remove it.")
        file.seek(0)
        yield file


def _rejection(source: Source, error: Exception) -> dict[str, object]:
    message = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return {
        "uri": source.uri,
        "stage": "open" if isinstance(error, OSError) else "decode",
        "error": type(error).__name__,
        "message": message,
        "bytes": source.n_bytes,
        "sha256": _sha256(source),
        "remedy": getattr(error, "remedy", "") or "Check that it exists and may be read.",
    }


def _sha256(source: Source) -> str | None:
    try:
        with _open_source(source) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except (AudioError, OSError):
        return None
