"""Files and folders by local path or gs:// URL, read and written whole.

Apache Beam reads and writes the remote ones. It is imported only for them, because that takes
seconds.
"""

from __future__ import annotations

import contextlib
import glob
import io
import json
import os
import pathlib
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

from audio.errors import UsageError
from storage import faults

# Names of unfinished files start with this.
PARTIAL_PREFIX = ".partial-"
# What TensorFlow and Beam take for a part of a pattern, with no way to quote it.
_PATTERN_CHARACTERS = frozenset("*?[\\")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def is_remote(path: str) -> bool:
    """Returns whether a path is on another file system than the local one, such as gs://."""
    return _SCHEME.match(path) is not None


def check_path(
    path: str, name: str, *, local: bool = False, pattern: bool = False, plain: bool = False
) -> str:
    """Returns a path that a user gave, after a check that Nocturne can use it.

    Args:
      path: A local path or a URL.
      name: Name of the option or setting that it was given for.
      local: Whether only a path on this machine is wanted.
      pattern: Whether it is the path of recordings, which may be a pattern and in any encoding.
      plain: Whether it is for TFX, which finds its files by patterns.

    Raises:
      UsageError: It is on a file system that Nocturne does not use, or is not a path.
    """
    scheme = _SCHEME.match(path)
    if scheme and (local or scheme[1] != "gs"):
        wanted = "a path on this machine" if local else "a path on this machine or gs://BUCKET/PATH"
        raise UsageError(
            f"{name}: wanted {wanted}, got {path}. Copy the files there, or mount {scheme[0]} as "
            "a folder.",
            key=name,
        )
    if scheme and not re.match(r"gs://[^/]", path):
        raise UsageError(f"{name}: wanted gs://BUCKET/PATH, got {path}", key=name)
    if plain and not scheme and not is_plain(str(pathlib.Path(path).resolve())):
        raise UsageError(
            f"{name}: TFX finds its files by patterns, so the path must be UTF-8 without * ? [ and "
            f"\\, got {pathlib.Path(path).resolve()}. Choose a folder with another name.",
            key=name,
        )
    if scheme and not pattern and not is_plain(path):
        raise UsageError(
            f"{name}: the characters * ? [ \\ in a gs:// path have another meaning for TensorFlow "
            f"and Beam, got {path}. Choose another name.",
            key=name,
        )
    if not pattern and not _is_utf8(path):
        raise UsageError(
            f"{name}: wanted a name in UTF-8, because TensorFlow reads no other, got {path!r}. "
            "Rename it.",
            key=name,
        )
    if "\0" in path:
        raise UsageError(f"{name}: wanted a path, got {path!r}", key=name)
    return path


def is_plain(path: str) -> bool:
    """Returns whether TensorFlow and Beam take a path for the name that it is."""
    return _PATTERN_CHARACTERS.isdisjoint(path) and _is_utf8(path)


def _is_utf8(path: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in path)


@contextlib.contextmanager
def plain_path(folder: str) -> Iterator[str]:
    """Yields a path of an existing folder that TensorFlow and Beam cannot take for a pattern.

    TensorFlow looks for checkpoints, and Beam for records, by pattern. For a local folder such as
    `album [disc 1]` that finds nothing. Therefore the folder is opened, and the path is that of the
    descriptor, which this process can use while the block runs:

        /music/album [disc 1]/model  ->  /proc/self/fd/7

    Args:
      folder: A local folder, or a path on gs://, where names are checked before (check_path).
    """
    if is_remote(folder) or is_plain(folder):
        yield folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def join(*parts: str) -> str:
    """Joins the parts of a local or remote path."""
    return "/".join(part.rstrip("/") for part in parts[:-1]) + "/" + parts[-1]


def exists(path: str) -> bool:
    """Returns whether there is a file of that path."""
    return _beam().exists(path) if is_remote(path) else pathlib.Path(path).exists()


def size(path: str) -> int:
    """Returns a file's size in bytes."""
    if is_remote(path):
        return int(_beam().match([path])[0].metadata_list[0].size_in_bytes)
    return pathlib.Path(path).stat().st_size


def open_read(path: str) -> BinaryIO:
    """Opens a file for reading bytes."""
    if is_remote(path):
        return _beam().open(path, compression_type="uncompressed")
    return pathlib.Path(path).open("rb")


def read_text(path: str) -> str:
    """Returns a file's content as text; bytes that are not UTF-8 become surrogates."""
    with open_read(path) as file:
        return file.read().decode("utf-8", "surrogateescape")


def read_json(path: str) -> Any:
    """Returns the content of a JSON file."""
    return json.loads(read_text(path))


@contextlib.contextmanager
def open_local(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading in any order; a remote file is first copied to a temporary one.

    Each seek in a remote object would cost a request, and an object in memory its size.
    """
    with open_read(path) as file:
        if not is_remote(path):
            yield file
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.seek(0)
            yield copy


@contextlib.contextmanager
def atomic_file(path: str, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Opens a file for writing. It appears under its name only if the block ends without an error.

    A bucket shows an object only after it is closed. A local file is written under a random name in
    the same folder, and then renamed.

    Args:
      path: Path of the file.
      overwrite: Whether an existing file is replaced; a remote one always is.

    Raises:
      FileExistsError: The file exists and must not be replaced.
      UnwritableError: It cannot be written.
      MachineError: The machine has no memory or no open files left.
    """
    if is_remote(path):
        google = path.startswith("gs://")
        with (
            faults.explain_google_errors(path) if google else contextlib.nullcontext(),
            _beam().create(path, compression_type="uncompressed") as file,
        ):
            yield file
        return
    target = pathlib.Path(path)
    partial = target.with_name(f"{PARTIAL_PREFIX}{uuid.uuid4().hex[:12]}")
    try:
        with _writing(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            raw = _LocalFile(partial, "wb", target=path)
        with io.BufferedWriter(raw) as file:
            yield file
            file.flush()
            with _writing(path):
                os.fsync(file.fileno())
        _publish(partial, target, overwrite=overwrite)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def remove_partial_files(folder: str) -> None:
    """Removes what killed processes left unfinished directly in a local folder.

    The caller holds the folder's lock, or nobody else writes there for another reason.
    """
    if is_remote(folder) or not pathlib.Path(folder).is_dir():
        return
    for path in pathlib.Path(folder).iterdir():
        if path.name.startswith(PARTIAL_PREFIX) and not path.is_dir():
            path.unlink(missing_ok=True)


def _publish(partial: pathlib.Path, target: pathlib.Path, *, overwrite: bool) -> None:
    """Gives a finished file its name."""
    try:
        if overwrite:
            partial.replace(target)
        else:
            target.hardlink_to(partial)
    except FileExistsError:  # of several writers, one succeeds
        raise
    except OSError as error:
        raise faults.unwritable(error, str(target)) from error


class _LocalFile(io.FileIO):
    """A file whose errors of writing name the file that it will become.

    They are told apart from all other errors here, because whoever fills the file may read another
    one at the same time.
    """

    def __init__(self, path: pathlib.Path, mode: str, *, target: str) -> None:
        super().__init__(path, mode)
        self._target = target

    def write(self, data: Any) -> int:
        """Writes bytes, as FileIO does.

        Raises:
          UnwritableError: They cannot be written.
        """
        with _writing(self._target):
            return super().write(data)


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    """Turns an error of the operating system into one that says what cannot be written."""
    try:
        yield
    except OSError as error:
        raise faults.unwritable(error, path) from error


def write_text(path: str, text: str) -> None:
    """Writes a text file, whole or not at all; surrogates become the bytes that they stand for."""
    with atomic_file(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


@contextlib.contextmanager
def atomic_folder(path: str, *, last: str = "") -> Iterator[str]:
    """Yields a temporary folder to fill. It takes its name only if the block ends without an error.

    A local folder is renamed. A bucket has no folders, so its files are copied one by one, and
    `last` at the end: readers take a folder without that file for unfinished.

    Args:
      path: Path of a folder that does not exist yet.
      last: Name of the file that marks a remote folder as finished.

    Raises:
      UnwritableError: The folder cannot be made or renamed.
    """
    partial = f"{path.rstrip('/')}.partial"
    remove_tree(partial)
    if not is_remote(path):
        with _writing(partial):
            pathlib.Path(partial).mkdir(parents=True)
        try:
            yield partial
            with _writing(path):
                pathlib.Path(partial).rename(path)
        finally:
            remove_tree(partial)
        return
    yield partial
    copy_tree(partial, path, last=last)
    remove_tree(partial)


def copy_tree(source: str, target: str, *, last: str = "") -> None:
    """Copies all files below a folder, and the file called `last` after all others."""
    source, target = source.rstrip("/"), target.rstrip("/")
    if is_remote(source):
        # TensorFlow marks a folder in a bucket by an empty object whose name ends in a slash.
        paths = [path for path in match(f"{source}/**") if not path.endswith("/")]
        names = [path[len(source) + 1 :] for path in paths]
    else:
        local = sorted(path for path in pathlib.Path(source).rglob("*") if path.is_file())
        names = [str(path.relative_to(source)) for path in local]
    for name in sorted(names, key=lambda name: name == last):
        with open_read(f"{source}/{name}") as file, atomic_file(f"{target}/{name}") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)


def match(pattern: str) -> list[str]:
    """Returns the paths that a glob pattern names, sorted."""
    if is_remote(pattern):
        return sorted(metadata.path for metadata in _beam().match([pattern])[0].metadata_list)
    return sorted(glob.glob(pattern))


def list_names(folder: str) -> list[str]:
    """Returns the names of the files and folders in a folder, sorted; none if it does not exist.

    In a bucket only the files right below the prefix are found.
    """
    if is_remote(folder):
        return [path.rsplit("/", 1)[-1] for path in match(join(folder, "*"))]
    local = pathlib.Path(folder)
    return sorted(path.name for path in local.iterdir()) if local.is_dir() else []


def remove_tree(path: str) -> None:
    """Removes a folder and all files below it, if it exists."""
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    paths = match(join(path, "**"))
    if paths:
        _beam().delete(paths)


def state_folder() -> pathlib.Path:
    """Returns the folder for this user's logs and locks, by the XDG base directory convention.

    A user without a home that can be written gets a folder for temporary files.
    """
    try:
        state = os.environ.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local" / "state"
    except RuntimeError:  # there is no HOME, and no user of this number
        return temporary_state_folder()
    folder = pathlib.Path(state, "nocturne")
    return folder if _can_write(folder) else temporary_state_folder()


def temporary_state_folder() -> pathlib.Path:
    """Returns the folder of a user who has no home; it is the same for all processes."""
    return pathlib.Path(tempfile.gettempdir(), f"nocturne-{os.getuid()}")


def _can_write(folder: pathlib.Path) -> bool:
    """Returns whether files can be made in a folder, which need not exist yet."""
    for path in (folder, *folder.parents):
        with contextlib.suppress(PermissionError):
            if path.exists():
                return path.is_dir() and os.access(path, os.W_OK | os.X_OK)
    return False


def _beam() -> Any:
    """Returns the class of Beam's file systems."""
    from apache_beam.io.filesystems import FileSystems

    return FileSystems
