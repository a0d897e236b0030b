"""Preparing one source: its records go to a staged file, or the reason why it has none.

The staged files are named after everything that the result depends on. The JSON file is written
last. A second attempt, such as a bundle that Beam repeats or a rerun after a kill, finds it and
does not decode the source again.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import pathlib
import stat
from collections.abc import Iterator
from typing import BinaryIO

from audio import contract
from audio.config import AudioConfig
from audio.errors import AudioError
from beam_transforms.card import summarize_chunks
from beam_transforms.examples import serialize_recording, write_tfrecord
from beam_transforms.extract import extract_recording
from beam_transforms.settings import PrepareSettings, Reuse, Source, Staged
from storage import files

FOLDER = ".staging"


def records_path(staging: str, key: str) -> str:
    """Returns the path of the records of one source."""
    return files.join(staging, f"{key}.tfrecord")


def outcome_path(staging: str, key: str) -> str:
    """Returns the path of the outcome of one source, which is written after the records."""
    return files.join(staging, f"{key}.json")


def stage_recording(
    source: Source,
    *,
    staging: str,
    audio: AudioConfig,
    settings: PrepareSettings,
    reuse: Reuse | None = None,
) -> Staged:
    """Prepares one source, unless an earlier attempt did.

    Args:
      source: The file.
      staging: Path of the folder for staged files.
      audio: Front end.
      settings: Settings of the job.
      reuse: Records of the same file in an earlier version of the dataset, which are copied
        instead of decoding the file.

    Returns:
      The outcome, which for a file that cannot be used is its rejection.
    """
    key = source.staging_key(audio, settings)
    outcome = outcome_path(staging, key)
    if files.exists(outcome):
        return Staged.from_json(files.read_text(outcome))
    path = records_path(staging, key)
    if reuse:
        _copy_records(reuse, path)
        staged = Staged(source=source, key=key, recording=reuse.recording)
    else:
        try:
            with _open_source(source) as file:
                recording = _write_records(file, source, path, audio=audio, settings=settings)
            staged = Staged(source=source, key=key, recording=recording)
        except (AudioError, OSError) as error:
            staged = Staged(source=source, key=key, rejection=_rejected_row(source, error))
    files.write_text(outcome, staged.to_json())
    return staged


def _write_records(
    file: BinaryIO, source: Source, path: str, *, audio: AudioConfig, settings: PrepareSettings
) -> dict[str, object]:
    recording = extract_recording(file, audio=audio, settings=settings)
    n_records = n_bytes = 0
    with files.atomic_file(path) as target:
        for record in serialize_recording(recording, source_uri=source.uri, audio=audio):
            n_bytes += write_tfrecord(target, record)
            n_records += 1
    lost_is_known = math.isfinite(recording.lost_seconds)
    return {
        "recording_id": recording.recording_id,
        "sample_rate": recording.sample_rate,
        "n_channels": recording.n_channels,
        "n_frames": recording.n_frames,
        "n_records": n_records,
        "n_bytes": n_bytes,
        "lost_seconds": round(recording.lost_seconds, 3) if lost_is_known else None,
        "stretches": summarize_chunks(recording),
        **{name: recording.figures.get(name) for name in contract.RECORDING_FIGURES},
    }


def _copy_records(reuse: Reuse, path: str) -> None:
    with files.open_read(reuse.shard) as shard, files.atomic_file(path) as target:
        shard.seek(reuse.offset)
        target.write(shard.read(reuse.recording["n_bytes"]))


@contextlib.contextmanager
def _open_source(source: Source) -> Iterator[BinaryIO]:
    """Opens a regular file, or a copy of a remote object.

    Raises:
      AudioError: It is not a regular file, or is empty.
      OSError: It cannot be opened.
    """
    # Opening a FIFO would wait for a writer without end.
    local = not files.is_remote(source.uri)
    if local and not stat.S_ISREG(pathlib.Path(source.uri).stat().st_mode):
        raise AudioError("not a regular file", remedy="Remove it from the input.")
    with files.open_local(source.uri) as file:
        if not file.read(1):
            raise AudioError("empty file", remedy="Copy or download it again, or remove it.")
        file.seek(0)
        yield file


def _rejected_row(source: Source, error: Exception) -> dict[str, object]:
    message = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return {
        "uri": source.uri,
        "stage": "open" if isinstance(error, OSError) else "decode",
        "error": type(error).__name__,
        "message": message,
        "bytes": source.n_bytes,
        "sha256": _sha256(source),
        "remedy": getattr(error, "remedy", "") or "Check that it exists and can be read.",
    }


def _sha256(source: Source) -> str | None:
    try:
        with _open_source(source) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except (AudioError, OSError):
        return None
