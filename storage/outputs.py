"""Folders and buckets that a run writes to, and never over what another run wrote.

A file appears whole or not at all, and only under a name that is free.
"""

from __future__ import annotations

import abc
import base64
import contextlib
import io
import mimetypes
import os
import pathlib
import shutil
from typing import Any, BinaryIO

import google_crc32c
from typing_extensions import override

from audio.errors import InputError, OutputExistsError, UnwritableError
from storage import files
from storage.faults import explain_google_errors

# Time limit of one request to a bucket with all its retries, seconds.
_TIMEOUT_SECONDS = 120.0
# Number of times that an upload is started which the server forgets half-way (HTTP status 410).
_MAX_UPLOADS = 3


class Output(abc.ABC):
    """A folder or a bucket; files in it are named by paths relative to it.

    Attributes:
      path: Path of the folder, or gs:// URL.
    """

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/")

    @abc.abstractmethod
    def list_names(self, *, limit: int) -> list[str]:
        """Returns the names of up to `limit` files in it; a folder lists its subfolders, too.

        Raises:
          OutputExistsError: The path is a file.
        """

    @abc.abstractmethod
    def read(self, name: str) -> bytes | None:
        """Returns the content of a file; None if it does not exist."""

    @abc.abstractmethod
    def checksum(self, name: str) -> int | None:
        """Returns the CRC-32C of a file; None if it does not exist."""

    @abc.abstractmethod
    def replace(self, name: str, content: bytes) -> None:
        """Writes a file in place of an earlier one, which stays untouched if it is equal.

        Raises:
          UnwritableError: It cannot be written, or another process wrote it at the same time.
        """

    @abc.abstractmethod
    def remove_unfinished(self, folder: str) -> None:
        """Removes a folder of it, and the unfinished files that killed processes left."""

    @abc.abstractmethod
    def _create(self, name: str, content: BinaryIO) -> bool:
        """Writes a file; returns False if the name is taken."""

    def publish(self, name: str, content: bytes | BinaryIO) -> None:
        """Writes a file, unless it exists already with the same content.

        Args:
          name: Name of the file.
          content: Its bytes, or an open file, which is read from its start.

        Raises:
          OutputExistsError: It exists with other content.
          UnwritableError: It cannot be written.
        """
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        file.seek(0)
        if not self._create(_checked(name), file) and self.checksum(name) != _crc32c(file):
            raise OutputExistsError(
                f"{self.path}/{name} exists and differs from what would be written, so it was left "
                "as it is. Choose another --output."
            )


def _crc32c(file: BinaryIO) -> int:
    """Returns the CRC-32C of a whole file."""
    file.seek(0)
    checksum = 0
    while block := file.read(1 << 20):
        checksum = google_crc32c.extend(checksum, block)
    return int(checksum)


def _checked(name: str) -> str:
    """Returns a name; refuses one that leads out of the output."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in name or "\0" in name:
        raise InputError(f"wanted a name below the output, got {name!r}")
    return name


class Folder(Output):
    """A folder on a disk. It is created with its first file."""

    @override
    def list_names(self, *, limit: int) -> list[str]:
        folder = pathlib.Path(self.path)
        if folder.exists() and not folder.is_dir():
            raise OutputExistsError(f"{self.path} is a file; wanted a folder for the clips.")
        paths = folder.iterdir() if folder.exists() else iter(())
        return [path.name for path, _ in zip(paths, range(limit), strict=False)]

    @override
    def read(self, name: str) -> bytes | None:
        try:
            return pathlib.Path(self.path, name).read_bytes()
        except FileNotFoundError:
            return None

    @override
    def checksum(self, name: str) -> int | None:
        try:
            with pathlib.Path(self.path, name).open("rb") as file:
                return _crc32c(file)
        except FileNotFoundError:
            return None

    @override
    def _create(self, name: str, content: BinaryIO) -> bool:
        return self._write(name, content, overwrite=False)

    @override
    def replace(self, name: str, content: bytes) -> None:
        try:
            unchanged = self.read(_checked(name)) == content
        except OSError:
            unchanged = False
        if not unchanged:
            self._write(name, io.BytesIO(content), overwrite=True)

    def _write(self, name: str, content: BinaryIO, *, overwrite: bool) -> bool:
        try:
            with files.atomic_file(f"{self.path}/{name}", overwrite=overwrite) as file:
                shutil.copyfileobj(content, file)
        except FileExistsError:
            return False
        return True

    @override
    def remove_unfinished(self, folder: str) -> None:
        shutil.rmtree(f"{self.path}/{folder}", ignore_errors=True)
        files.remove_partial_files(self.path)


class Bucket(Output):
    """A prefix of a bucket in Google Cloud Storage.

    An object is created on condition that its name is free. If the answer to a successful request
    is lost, the client repeats the request and is told that the name is taken. Therefore the
    existing object is compared before that is reported as a conflict.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        from google.cloud import storage
        from google.cloud.storage.retry import DEFAULT_RETRY

        bucket, _, self._prefix = self.path.removeprefix("gs://").partition("/")
        with explain_google_errors(self.path):
            self._bucket = storage.Client().bucket(bucket)
        self._retry = DEFAULT_RETRY.with_timeout(_TIMEOUT_SECONDS)

    def _object_name(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    @override
    def list_names(self, *, limit: int) -> list[str]:
        prefix = self._object_name("")
        with explain_google_errors(self.path):
            blobs = self._bucket.list_blobs(prefix=prefix, max_results=limit, retry=self._retry)
            return [blob.name[len(prefix) :] for blob in blobs]

    @override
    def read(self, name: str) -> bytes | None:
        from google.api_core import exceptions

        blob = self._bucket.blob(self._object_name(name))
        with explain_google_errors(f"{self.path}/{name}"):
            try:
                return bytes(blob.download_as_bytes(retry=self._retry))
            except exceptions.NotFound:
                return None

    @override
    def checksum(self, name: str) -> int | None:
        blob = self._get_blob(name)
        return None if blob is None else _stored_checksum(blob)

    def _get_blob(self, name: str) -> Any:
        with explain_google_errors(f"{self.path}/{name}"):
            return self._bucket.get_blob(self._object_name(name), retry=self._retry)

    @override
    def _create(self, name: str, content: BinaryIO) -> bool:
        return self._upload(name, content, generation=0)

    def read_version(self, name: str) -> tuple[bytes, int] | None:
        """Returns the content of an object and its generation; None if it does not exist."""
        from google.api_core import exceptions

        blob = self._get_blob(name)
        if blob is None:
            return None
        generation = int(blob.generation)  # the download may forget it
        with explain_google_errors(f"{self.path}/{name}"):
            try:
                return bytes(blob.download_as_bytes(retry=self._retry)), generation
            except exceptions.NotFound:
                return None

    def write_version(self, name: str, content: bytes, generation: int) -> bool:
        """Writes an object in place of one generation, 0 for none; returns False if it is gone."""
        return self._upload(name, io.BytesIO(content), generation=generation)

    def remove_version(self, name: str, generation: int) -> None:
        """Removes one generation of an object, if it is still there."""
        from google.api_core import exceptions

        blob = self._bucket.blob(self._object_name(name))
        with (
            explain_google_errors(f"{self.path}/{name}"),
            contextlib.suppress(exceptions.NotFound, exceptions.PreconditionFailed),
        ):
            blob.delete(if_generation_match=generation, retry=self._retry)

    def _upload(self, name: str, content: BinaryIO, *, generation: int) -> bool:
        """Writes an object if its generation is still that one, where 0 means that there is none.

        Returns:
          Whether the object was written.
        """
        from google.api_core import exceptions

        size = content.seek(0, os.SEEK_END)
        with explain_google_errors(f"{self.path}/{name}"):
            for uploads_left in reversed(range(_MAX_UPLOADS)):
                try:
                    self._bucket.blob(self._object_name(name)).upload_from_file(
                        content,
                        rewind=True,
                        size=size,
                        content_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
                        if_generation_match=generation,
                        checksum="crc32c",
                        retry=self._retry,
                    )
                except exceptions.PreconditionFailed:
                    return False
                except exceptions.GoogleAPICallError as error:
                    if error.code != 410 or not uploads_left:
                        raise
                else:
                    return True
        raise AssertionError("unreachable: the last upload returns or raises")

    @override
    def replace(self, name: str, content: bytes) -> None:
        checksum = google_crc32c.value(content)
        earlier = self._get_blob(_checked(name))
        if earlier is not None and _stored_checksum(earlier) == checksum:
            return
        generation = 0 if earlier is None else earlier.generation
        written = self._upload(name, io.BytesIO(content), generation=generation)
        # The client may have repeated an upload that succeeded, but whose answer was lost.
        if not written and self.checksum(name) != checksum:
            raise UnwritableError(
                f"{self.path}/{name} was changed by another process at the same time. Run the same "
                "command again."
            )

    @override
    def remove_unfinished(self, folder: str) -> None:
        from google.api_core import exceptions

        prefix = self._object_name(f"{folder}/")
        with explain_google_errors(self.path):
            for blob in self._bucket.list_blobs(prefix=prefix, retry=self._retry):
                with contextlib.suppress(exceptions.NotFound):
                    blob.delete(retry=self._retry)


def _stored_checksum(blob: Any) -> int:
    return int.from_bytes(base64.b64decode(blob.crc32c), "big")


def open_output(path: str) -> Output:
    """Returns the output of a local path or gs:// URL."""
    return Bucket(path) if path.startswith("gs://") else Folder(path)
