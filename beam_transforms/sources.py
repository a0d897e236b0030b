"""Finding the input files: paths, globs, folders, gs://."""

from __future__ import annotations

import glob
import os
import pathlib
import stat
from collections.abc import Iterable, Iterator

from apache_beam.io.filesystems import FileSystems

from audio.errors import InputError
from beam_transforms.settings import Source
from storage import files
from storage.dataset_files import read_recordings, read_rejected, require_dataset

_NAMES = "wav wave flac ogg oga opus mp3 aif aiff aifc au snd caf w64 rf64 m4a m4b aac"
EXTENSIONS = frozenset(f".{name}" for name in _NAMES.split())
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"riff")


def find_sources(inputs: Iterable[str]) -> list[Source]:
    """Returns the input files, each once, sorted by uri.

    A folder gives the files below it that look like audio by name or by content; a glob or a path
    gives what it names, whatever that is, so that a broken file is reported and not passed over.

    Raises:
      InputError: an input is missing, or nothing that could be audio was found.
    """
    sources: dict[str, Source] = {}
    inputs = list(inputs)
    for given in inputs:
        found = _remote(given) if files.is_remote(given) else _local(given)
        sources.update((source.uri, source) for source in found)
    if not sources:
        raise InputError(
            f"no audio found in {', '.join(inputs) or 'no input'}. Wanted WAV, FLAC, Ogg, Opus, "
            "MP3, AIFF or M4A files; give a file, a folder, a glob or a gs:// path with --input."
        )
    return [sources[uri] for uri in sorted(sources)]


def read_list(path: str) -> list[str]:
    """Returns the inputs that a file lists: one a line, or separated by NUL characters.

    Raises:
      InputError: the file cannot be read, or lists nothing.
    """
    try:
        text = files.read_text(path)
    except OSError as error:
        raise InputError(f"list {path}: {error.strerror or error}") from error
    found = [line for line in text.split("\0" if "\0" in text else "\n") if line.strip()]
    if not found:
        raise InputError(f"list {path}: it names no input. Wanted one path a line.")
    return found


def replay_sources(dataset: str) -> list[Source]:
    """Returns the files that a finished dataset was made of, those that it rejected among them.

    Raises:
      IncompleteError: the dataset is not finished.
    """
    require_dataset(dataset)
    uris = [row["source_uri"] for row in read_recordings(dataset)]
    uris += [row["uri"] for row in read_rejected(dataset)]
    found = {uri: [] if files.is_remote(uri) else [_source(pathlib.Path(uri))] for uri in uris}
    remote = [source for uri in found if files.is_remote(uri) for source in _remote(uri)]
    local = [source for sources in found.values() for source in sources]
    return sorted([*local, *remote], key=lambda source: source.uri)


def _local(given: str) -> Iterator[Source]:
    # A name may hold glob characters itself: what exists is taken as it stands.
    names = [given] if os.path.lexists(given) else sorted(glob.glob(given, recursive=True))
    if not names:
        raise InputError(f"input not found: {given}. Check the path; quote globs for the shell.")
    for name in names:
        path = pathlib.Path(name)
        if path.is_dir():
            yield from (_source(file) for file in _audio_below(path))
        else:
            yield _source(path)


def _audio_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    # os.walk does not follow links to folders, so a loop of links ends.
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = pathlib.Path(parent, name)
            if not name.startswith(".") and (
                path.suffix.lower() in EXTENSIONS or _sounds_like_audio(path)
            ):
                yield path


def _sounds_like_audio(path: pathlib.Path) -> bool:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    # An MPEG frame starts with eleven set bits. Of MP4 files only those that say so are audio.
    mpeg = head[:1] == b"\xff" and head[1:2] >= b"\xe0"
    return head.startswith(_MAGIC) or mpeg or head[4:11] in (b"ftypM4A", b"ftypM4B")


def _source(path: pathlib.Path) -> Source:
    uri = os.path.abspath(path)
    try:
        status = path.stat()
    except OSError:  # a dangling link: its preparation will say so
        return Source(uri=uri, n_bytes=0, version="unreadable")
    return Source(uri=uri, n_bytes=status.st_size, version=str(status.st_mtime_ns))


def _remote(given: str) -> Iterator[Source]:
    patterns = [given] if "*" in given else [given, files.join(given, "**")]
    found = 0
    for result in FileSystems.match(patterns):
        for metadata in result.metadata_list:
            named = result.pattern == given
            if named or pathlib.PurePosixPath(metadata.path).suffix.lower() in EXTENSIONS:
                found += 1
                yield Source(
                    uri=metadata.path,
                    n_bytes=metadata.size_in_bytes,
                    version=str(metadata.last_updated_in_seconds),
                )
    if not found:
        raise InputError(f"input not found: {given}. Check the bucket, the path and your access.")
