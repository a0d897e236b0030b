"""The search for input files: paths, globs, folders and gs:// URLs."""

from __future__ import annotations

import glob
import os
import pathlib
import re
import stat
from collections.abc import Iterable, Iterator

from apache_beam.io.filesystems import FileSystems

from audio.errors import InputError
from beam_transforms.settings import Source
from storage import files
from storage.dataset_files import read_recordings, read_rejected, require_dataset

_NAMES = "wav wave flac ogg oga opus mp3 aif aiff aifc au snd caf w64 rf64 m4a m4b aac"
EXTENSIONS = frozenset(f".{name}" for name in _NAMES.split())
# First bytes of audio files.
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"riff")
# Byte order marks of UTF-16, as files.read_text returns them.
_UTF16_MARKS = ("\udcff\udcfe", "\udcfe\udcff")


def find_sources(inputs: Iterable[str]) -> list[Source]:
    """Returns the input files, each once, sorted by uri.

    A folder gives the files below it whose name or content is that of audio. A glob or a path gives
    every file that it names, so that a broken one is reported and not passed over.

    Args:
      inputs: Paths of files or folders, globs, or gs:// URLs.

    Raises:
      InputError: An input does not exist, or nothing that could be audio was found.
    """
    inputs = list(inputs)
    sources = {
        source.uri: source
        for path in inputs
        for source in (_find_remote(path) if files.is_remote(path) else _find_local(path))
    }
    if not sources:
        raise InputError(
            f"no audio found in {', '.join(inputs) or 'no input'}. Wanted WAV, FLAC, Ogg, Opus, "
            "MP3, AIFF or M4A files; give a file, a folder, a glob or a gs:// path with --input."
        )
    return [sources[uri] for uri in sorted(sources)]


def read_list(path: str) -> list[str]:
    """Returns the inputs that a file lists: one per line, or separated by NUL characters.

    Lines may end as on Windows, and a byte order mark is skipped. Names need not be UTF-8.

    Raises:
      InputError: The file cannot be read, is UTF-16, or lists nothing.
    """
    try:
        text = files.read_text(path)
    except OSError as error:
        raise InputError(f"list {path}: {error.strerror or error}") from error
    if text.startswith(_UTF16_MARKS):
        raise InputError(f"list {path}: not UTF-8 text, but UTF-16. Save it as UTF-8.")
    text = text.removeprefix("\ufeff")
    lines = text.split("\0") if "\0" in text else re.split("\r?\n", text)
    inputs = [line for line in lines if line.strip()]
    if not inputs:
        raise InputError(f"list {path}: it names no input. Wanted one path per line.")
    return inputs


def find_dataset_sources(dataset: str) -> list[Source]:
    """Returns the sources of a finished dataset, rejected ones included; vanished ones as well.

    Raises:
      IncompleteError: The dataset is not finished.
      InputError: A remote source no longer exists.
    """
    require_dataset(dataset)
    uris = {row["source_uri"] for row in read_recordings(dataset)}
    uris.update(row["uri"] for row in read_rejected(dataset))
    local = [_source(pathlib.Path(uri)) for uri in uris if not files.is_remote(uri)]
    remote = [source for uri in uris if files.is_remote(uri) for source in _find_remote(uri)]
    return sorted([*local, *remote], key=lambda source: source.uri)


def _find_local(pattern: str) -> Iterator[Source]:
    # A path may itself contain glob characters, so one that exists is not taken for a pattern.
    names = [pattern] if os.path.lexists(pattern) else sorted(glob.glob(pattern, recursive=True))
    if not names:
        raise InputError(f"input not found: {pattern}. Check the path; quote globs for the shell.")
    for name in names:
        path = pathlib.Path(name)
        if path.is_dir():
            yield from (_source(file) for file in _audio_below(path))
        else:
            yield _source(path)


def _audio_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    # os.walk does not follow links to folders, so it ends even if they form a loop.
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = pathlib.Path(parent, name)
            if not name.startswith(".") and (
                path.suffix.lower() in EXTENSIONS or _starts_like_audio(path)
            ):
                yield path


def _starts_like_audio(path: pathlib.Path) -> bool:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    # An MPEG frame starts with eleven set bits. An MP4 file may be a video; these brands are audio.
    mpeg = head[:1] == b"\xff" and head[1:2] >= b"\xe0"
    return head.startswith(_MAGIC) or mpeg or head[4:11] in (b"ftypM4A", b"ftypM4B")


def _source(path: pathlib.Path) -> Source:
    uri = os.path.abspath(path)
    try:
        status = path.stat()
    except OSError:  # such as a dangling link, which will be rejected when it is prepared
        return Source(uri=uri, n_bytes=0, version="unreadable")
    return Source(uri=uri, n_bytes=status.st_size, version=str(status.st_mtime_ns))


def _find_remote(pattern: str) -> list[Source]:
    patterns = [pattern] if "*" in pattern else [pattern, files.join(pattern, "**")]
    sources = [
        Source(uri=file.path, n_bytes=file.size_in_bytes, version=str(file.last_updated_in_seconds))
        for result in FileSystems.match(patterns)
        for file in result.metadata_list
        if result.pattern == pattern
        or pathlib.PurePosixPath(file.path).suffix.lower() in EXTENSIONS
    ]
    if not sources:
        raise InputError(f"input not found: {pattern}. Check the bucket, the path and your access.")
    return sources
