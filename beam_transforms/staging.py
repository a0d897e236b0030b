"""Preparing one source: its records go to a staged file, or the reason why it has none.

The staged files are named after everything that the records depend on. The JSON file is written
last. A second attempt, such as a bundle that Beam repeats or a rerun after a kill, finds it and
does not decode the source again.

A file is rejected for its bytes alone (docs/decisions/0017-faults.md):

  its bytes cannot be used         rejected; remembered with what judged them
  it takes too long                rejected; not remembered
  it is missing or not permitted   listed as not read this time; not remembered
  anything else                    ends the job, which continues from here the next time
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import pathlib
import stat
import time
from collections.abc import Iterator
from typing import BinaryIO

import soundfile

from audio import contract
from audio.config import AudioConfig
from audio.errors import AudioError, IncompleteError
from beam_transforms.card import summarize_chunks
from beam_transforms.examples import serialize_recording, write_tfrecord
from beam_transforms.extract import ExtractedRecording, extract_recording
from beam_transforms.plan import OPEN
from beam_transforms.settings import PrepareSettings, Reuse, Source, Staged
from storage import faults, files
from storage.source_code import code_fingerprint

FOLDER = ".staging"


class _NotReadError(Exception):
    """A source is missing or may not be read; the cause says which."""


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
        staged = Staged.from_json(files.read_text(outcome))
        if staged.recording or staged.judged_by == _judged_by(settings):
            return staged
    path = records_path(staging, key)
    started = time.monotonic()
    if reuse:
        _copy_records(reuse, path)
        staged = Staged(source=source, key=key, recording=reuse.recording)
    else:
        try:
            with _open_source(source) as file:
                recording = extract_recording(file, audio=audio, settings=settings)
        except _NotReadError as error:
            return Staged(source=source, key=key, rejection=_not_read_row(source, error))
        except AudioError as error:
            staged = Staged(
                source=source,
                key=key,
                rejection=_rejected_row(source, error),
                judged_by=_judged_by(settings),
            )
            if time.monotonic() - started > settings.max_seconds_per_file:
                return staged  # on a machine that is less busy it may take less time
        else:
            written = _write_records(recording, source, path, audio=audio)
            staged = Staged(source=source, key=key, recording=written)
    files.write_text(outcome, staged.to_json())
    return staged


def decoder_versions() -> dict[str, str]:
    """Returns the versions of the libraries that decode audio; of one that is missing, none."""
    try:
        import av
    except ImportError:
        pyav = "none"
    else:
        pyav = av.__version__
    return {
        "libsndfile": soundfile.__libsndfile_version__,
        "soundfile": soundfile.__version__,
        "av": pyav,
    }


def _judged_by(settings: PrepareSettings) -> dict[str, str]:
    """Returns what a rejection follows from, besides what is in the staging key."""
    return {
        **decoder_versions(),
        "code": code_fingerprint("audio", "beam_transforms.extract"),
        "max_seconds_per_file": str(settings.max_seconds_per_file),
    }


def _write_records(
    recording: ExtractedRecording, source: Source, path: str, *, audio: AudioConfig
) -> dict[str, object]:
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
        records = shard.read(reuse.recording["n_bytes"])
        if len(records) != reuse.recording["n_bytes"]:
            raise IncompleteError(
                f"{reuse.shard} is damaged: it ends at byte {reuse.offset + len(records)}, within "
                f"the records of {reuse.recording['source_uri']}. Copy that dataset again from an "
                "intact one, or run without --previous."
            )
        target.write(records)


@contextlib.contextmanager
def _open_source(source: Source) -> Iterator[BinaryIO]:
    """Opens a regular file, or a copy of a remote object.

    Raises:
      AudioError: It is not a regular file, or is empty.
      _NotReadError: It is on a disk, and does not exist or may not be read.
      MachineError, UnwritableError: The system failed while the file was read or copied. Whatever a
        decoder then said of the file is not true.
    """
    with contextlib.ExitStack() as stack:
        try:
            _require_regular(source)
            file = stack.enter_context(files.open_local(source.uri))
            is_empty = not file.read(1)
            file.seek(0)
        except (OSError, MemoryError) as error:
            raise _reading_error(source, error) from error
        if is_empty:
            raise AudioError("empty file", remedy="Copy or download it again, or remove it.")
        try:
            with faults.watching(file, functools.partial(_reading_error, source)) as watched:
                yield watched
        except MemoryError as error:
            raise _reading_error(source, error) from error


def _require_regular(source: Source) -> None:
    # Opening a FIFO would wait for a writer without end.
    if files.is_remote(source.uri) or stat.S_ISREG(pathlib.Path(source.uri).stat().st_mode):
        return
    raise AudioError("not a regular file", remedy="Remove it from the input.")


def _reading_error(source: Source, error: OSError | MemoryError) -> Exception:
    # A remote file is copied first, so that such an error may be about the temporary folder.
    if faults.is_about_one_file(error) and not files.is_remote(source.uri):
        return _NotReadError(source.uri)
    return faults.unreadable(error, source.uri)


def _not_read_row(source: Source, error: _NotReadError) -> dict[str, object]:
    cause = error.__cause__
    return {
        "uri": source.uri,
        "stage": OPEN,
        "error": type(cause).__name__,
        "message": f"could not be read this time: {getattr(cause, 'strerror', cause)}",
        "bytes": source.n_bytes,
        "sha256": None,
        "remedy": "Check that it exists and that this account may read it, then try it again: "
        "`nocturne prepare --retry-rejected` does, if the dataset is finished.",
    }


def _rejected_row(source: Source, error: AudioError) -> dict[str, object]:
    return {
        "uri": source.uri,
        "stage": "decode",
        "error": type(error).__name__,
        "message": str(error),
        "bytes": source.n_bytes,
        "sha256": _sha256(source),
        "remedy": error.remedy or "Check that it is a whole audio file, or remove it.",
    }


def _sha256(source: Source) -> str | None:
    try:
        with _open_source(source) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except (AudioError, _NotReadError):
        return None
