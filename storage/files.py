"""Files by path or gs:// through Beam, with the two promises that the job needs.

A file appears whole or not at all, and reading a folder that has no marker is an error.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from audio import contract
from audio.errors import IncompleteError


def is_remote(path: str) -> bool:
    """Whether a path names another file system, such as gs://."""
    return "://" in path


def join(*parts: str) -> str:
    """Joins path parts; remote ones too."""
    return "/".join(part.rstrip("/") for part in parts[:-1]) + "/" + parts[-1]


def exists(path: str) -> bool:
    """Whether a file is there."""
    return FileSystems.exists(path) if is_remote(path) else pathlib.Path(path).exists()


def size(path: str) -> int:
    """Returns a file's size in bytes."""
    if is_remote(path):
        return int(FileSystems.match([path])[0].metadata_list[0].size_in_bytes)
    return pathlib.Path(path).stat().st_size


def open_read(path: str) -> BinaryIO:
    """Opens a file for reading bytes."""
    if is_remote(path):
        return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return pathlib.Path(path).open("rb")


def read_text(path: str) -> str:
    """Returns a file's content as text."""
    with open_read(path) as file:
        return file.read().decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def write_whole(path: str) -> Iterator[BinaryIO]:
    """Opens a file for writing; it appears under its name only when the block ends well.

    A bucket shows an object only once it is closed. On a disk the bytes go beside and are renamed;
    the name beside is random because it never outlives the attempt.
    """
    if is_remote(path):
        with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file
        return
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: str, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with write_whole(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def match(pattern: str) -> list[str]:
    """Returns the paths that a glob pattern names, sorted."""
    if is_remote(pattern):
        return sorted(found.path for found in FileSystems.match([pattern])[0].metadata_list)
    return sorted(glob.glob(pattern))


@contextlib.contextmanager
def open_local(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading here and there in it: a remote one as a temporary copy on disk.

    Seeking in an object costs a request each time, and holding it in memory costs its size.
    """
    with open_read(path) as file:
        if not is_remote(path):
            yield file
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.seek(0)
            yield copy


def remove_tree(path: str) -> None:
    """Removes a folder and all below it, if it is there."""
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    found = match(join(path, "**"))
    if found:
        FileSystems.delete(found)


def require_dataset(path: str) -> None:
    """Checks that a folder is a finished dataset.

    Raises:
      IncompleteError: it has no COMPLETED marker.
    """
    if not exists(join(path, contract.COMPLETED)):
        raise IncompleteError(
            f"{path} is not a finished dataset: {contract.COMPLETED} is missing. Run `nocturne "
            "prepare` with the same --input and --output again; it goes on where it stopped."
        )
