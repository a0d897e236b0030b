"""The search for input files: paths, globs, folders and gs:// URLs.

What a folder has beside music is passed over, and counted by kind, so that nothing is missing
without a word.
"""

from __future__ import annotations

import collections
import glob
import os
import pathlib
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from audio.decoders import has_pyav
from audio.errors import InputError
from audio.formats import is_certainly_audio
from beam_transforms.settings import Source
from storage import faults, files
from storage.dataset_files import read_recordings, read_rejected, require_dataset

_NAMES = "wav wave bwf flac ogg oga opus mp3 mp2 aif aiff aifc au snd caf w64 rf64 m4a m4b aac"
EXTENSIONS = frozenset(f".{name}" for name in _NAMES.split())
# Byte order marks of UTF-16, as files.read_text returns them.
_UTF16_MARKS = ("\udcff\udcfe", "\udcfe\udcff")
# Names of formats that are read if the optional package av is installed.
_FOREIGN = frozenset({".webm", ".mka", ".mp4", ".wv", ".tta", ".ac3"})
# Folders that systems and programs keep for themselves.
_SYSTEM_FOLDERS = frozenset(
    {
        ".AppleDouble", ".DocumentRevisions-V100", ".Spotlight-V100", ".TemporaryItems", ".Trash",
        ".Trashes", ".cache", ".fseventsd", ".git", ".hg", ".staging", ".svn", ".thumbnails",
        "$RECYCLE.BIN", "@eaDir", "System Volume Information", "__MACOSX", "lost+found",
    }
)  # fmt: skip
# Kinds of what is passed over and has no suffix to be named by.
_APPLE_DOUBLE = "AppleDouble"
_SYSTEM_FOLDER = "system folder"
_LINKED_FOLDER = "link to a folder"
_UNREADABLE_FOLDER = "unreadable folder"
_NO_SUFFIX = "without a suffix"


class FoundSources(NamedTuple):
    """What was found in the inputs.

    Attributes:
      sources: The files to prepare, each once, sorted by uri.
      passed_over: Numbers of what else is in the folders, by kind: a suffix such as ".jpg", or a
        word such as "AppleDouble".
    """

    sources: list[Source]
    passed_over: dict[str, int]


def scan_inputs(inputs: Iterable[str]) -> FoundSources:
    """Returns the input files, and what was passed over.

    A folder gives the files below it whose name or content is that of audio. A glob or a path gives
    every file that it names, so that a broken one is reported and not passed over.

    Args:
      inputs: Paths of files or folders, globs, or gs:// URLs.

    Raises:
      InputError: An input does not exist, or nothing that could be audio was found.
    """
    inputs = list(inputs)
    passed: dict[str, str] = {}  # the kind of each path
    sources = {
        source.uri: source
        for path in inputs
        for source in (
            _find_remote(path, passed) if files.is_remote(path) else _find_local(path, passed)
        )
    }
    passed_over = collections.Counter(kind for path, kind in passed.items() if path not in sources)
    if not sources:
        beside = f" It has {format_passed_over(passed_over)}." if passed_over else ""
        raise InputError(
            f"no audio found in {', '.join(inputs) or 'no input'}.{beside} Wanted WAV, FLAC, Ogg, "
            "Opus, MP3, AIFF or M4A files; give a file, a folder, a glob or a gs:// path with "
            "--input."
        )
    return FoundSources([sources[uri] for uri in sorted(sources)], dict(passed_over))


def find_sources(inputs: Iterable[str]) -> list[Source]:
    """Returns the input files alone; see scan_inputs."""
    return scan_inputs(inputs).sources


def format_passed_over(passed_over: Mapping[str, int]) -> str:
    """Returns the numbers of what was passed over as text, the largest first."""
    ordered = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    hint = " (`pip install av` to read them)"
    return ", ".join(
        f"{count} {kind}" + (hint if kind in _FOREIGN and not has_pyav() else "")
        for kind, count in ordered
    )


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
    local = [
        _source(path, by_content=not _has_audio_name(path))
        for path in (pathlib.Path(uri) for uri in uris if not files.is_remote(uri))
    ]
    remote = [
        source
        for uri in uris
        if files.is_remote(uri)
        for source in _find_remote(uri, {}, is_pattern=False)
    ]
    return sorted([*local, *remote], key=lambda source: source.uri)


def _find_local(pattern: str, passed: dict[str, str]) -> Iterator[Source]:
    # A path may itself contain glob characters, so one that exists is not taken for a pattern.
    names = [pattern] if os.path.lexists(pattern) else sorted(glob.glob(pattern, recursive=True))
    if not names:
        raise InputError(f"input not found: {pattern}. Check the path; quote globs for the shell.")
    for name in names:
        path = pathlib.Path(name)
        if path.is_dir():
            yield from _find_below(path, passed)
        else:
            yield _source(path)


def _find_below(folder: pathlib.Path, passed: dict[str, str]) -> Iterator[Source]:
    """Yields the audio files below a folder, and notes the kind of each other path in `passed`."""

    def note_unreadable(error: OSError) -> None:
        _require_about_one_file(error, error.filename)
        passed[os.path.abspath(error.filename)] = _UNREADABLE_FOLDER

    # os.walk does not follow links to folders, so it ends even if they form a loop.
    for parent, folders, names in os.walk(folder, onerror=note_unreadable):
        for name in folders:
            path = pathlib.Path(parent, name)
            if _is_system_folder(name):
                passed[os.path.abspath(path)] = _SYSTEM_FOLDER
            elif path.is_symlink():
                passed[os.path.abspath(path)] = _LINKED_FOLDER
        folders[:] = sorted(name for name in folders if not _is_system_folder(name))
        for name in sorted(names):
            path = pathlib.Path(parent, name)
            if _is_apple_double(path):
                passed[os.path.abspath(path)] = _APPLE_DOUBLE
            elif _has_audio_name(path):
                yield _source(path)
            elif _sounds_like_audio(path):
                yield _source(path, by_content=True)
            else:
                passed[os.path.abspath(path)] = _kind(name)


def _is_system_folder(name: str) -> bool:
    return name in _SYSTEM_FOLDERS or name.startswith(".Trash-")


def _has_audio_name(path: pathlib.PurePath) -> bool:
    """Returns whether a file's suffix is that of a format that can be read here."""
    # pathlib sees no suffix in names such as ".wav".
    suffix = _kind(path.name)
    return suffix in EXTENSIONS or (suffix in _FOREIGN and has_pyav())


def _kind(name: str) -> str:
    """Returns the suffix of a name in small letters."""
    _, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot and suffix.isalnum() and len(suffix) <= 8 else _NO_SUFFIX


def _is_apple_double(path: pathlib.Path) -> bool:
    """Returns whether macOS wrote a file beside another one for what other systems do not store."""
    return path.name.startswith("._") and _head(path)[:4] in (b"", b"\x00\x05\x16\x07")


def _head(path: pathlib.Path) -> bytes:
    """Returns the first bytes of a regular file that can be read; none of another one."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return b""
        with path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        _require_about_one_file(error, path)
        return b""


def _require_about_one_file(error: OSError, path: str | pathlib.Path) -> None:
    """Raises what is to be told of an error that says nothing about the file, such as EMFILE."""
    if not faults.is_about_one_file(error):
        raise faults.unreadable(error, str(path)) from error


def _sounds_like_audio(path: pathlib.Path) -> bool:
    if _kind(path.name) in _FOREIGN or not _head(path):
        return False
    try:
        with path.open("rb") as file:
            return is_certainly_audio(file)
    except OSError as error:
        _require_about_one_file(error, path)
        return False


def _source(path: pathlib.Path, *, by_content: bool = False) -> Source:
    uri = os.path.abspath(path)
    try:
        status = path.stat()
    except OSError as error:  # such as a dangling link, which is rejected when it is prepared
        _require_about_one_file(error, path)
        return Source(uri=uri, n_bytes=0, version="unreadable")
    version = str(status.st_mtime_ns)
    return Source(uri=uri, n_bytes=status.st_size, version=version, by_content=by_content)


def _find_remote(
    path_or_pattern: str, passed: dict[str, str], *, is_pattern: bool | None = None
) -> list[Source]:
    """Returns the objects of a path or a pattern; by default, what has a * is a pattern."""
    from apache_beam.io.filesystems import FileSystems  # takes seconds

    if is_pattern is None:
        is_pattern = "*" in path_or_pattern
    pattern = path_or_pattern if is_pattern else glob.escape(path_or_pattern)
    patterns = [pattern] if is_pattern else [pattern, files.join(pattern, "**")]
    sources = []
    for result in FileSystems.match(patterns):
        for file in result.metadata_list:
            path = pathlib.PurePosixPath(file.path)
            if result.pattern != pattern and path.name.startswith("._"):
                passed[file.path] = _APPLE_DOUBLE
            elif result.pattern != pattern and not _has_audio_name(path):
                passed[file.path] = _kind(path.name)
            else:
                version = str(file.last_updated_in_seconds)
                sources.append(Source(uri=file.path, n_bytes=file.size_in_bytes, version=version))
    if not sources:
        raise InputError(
            f"input not found: {path_or_pattern}. Check the bucket, the path and your access."
        )
    return sources
