"""Where results go: a folder or a bucket. They appear whole, once, and over nothing."""

from __future__ import annotations

import abc
import base64
import io
import os
import pathlib
import shutil
from typing import Any, BinaryIO

import google_crc32c

from audio.errors import InputError, OutputExistsError, UnwritableError
from storage import files

# Of one request to a bucket, all its retries included.
_PATIENCE_SECONDS = 120.0
# A resumable upload that the server has forgotten (410) is begun anew so often.
_RESTARTS = 3
_BLOCK_BYTES = 1 << 20


class Output(abc.ABC):
    """A place for files, named by paths relative to it.

    Attributes:
      path: of the place.
    """

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/")

    @abc.abstractmethod
    def names(self, *, limit: int) -> list[str]:
        """Returns the names of up to `limit` things that are there."""

    @abc.abstractmethod
    def read(self, name: str) -> bytes | None:
        """Returns a file's content; None where there is none."""

    @abc.abstractmethod
    def checksum(self, name: str) -> int | None:
        """Returns the CRC-32C of a file's content; None where there is none."""

    @abc.abstractmethod
    def _create(self, name: str, content: BinaryIO) -> bool:
        """Writes a file, whole or not at all; False where the name is taken."""

    @abc.abstractmethod
    def replace(self, name: str, content: bytes) -> None:
        """Puts content under a name, whole, in place of what is there: for what is made anew.

        What is there already and equal is not touched.

        Raises:
          UnwritableError: it cannot be written, or another writer was faster.
        """

    @abc.abstractmethod
    def tidy(self, folder: str) -> None:
        """Removes the files below a folder, and what killed writers left beside the others."""

    def publish(self, name: str, content: bytes | BinaryIO) -> None:
        """Puts content, all of the file where it is one, under a name, unless it is there already.

        Raises:
          OutputExistsError: the name holds something else.
          UnwritableError: it cannot be written.
        """
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        file.seek(0)
        if not self._create(_checked(name), file) and self.checksum(name) != _crc32c(file):
            raise OutputExistsError(
                f"{self.path}/{name} exists and differs from what would be written; it is left as "
                "it is. Choose another --output."
            )


def _crc32c(file: BinaryIO) -> int:
    """Returns the CRC-32C of all of a file."""
    file.seek(0)
    checksum = 0
    while block := file.read(_BLOCK_BYTES):
        checksum = google_crc32c.extend(checksum, block)
    return int(checksum)


def _checked(name: str) -> str:
    """Refuses names that lead out of the place."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in name or "\0" in name:
        raise InputError(f"wanted a name below the output, got {name!r}")
    return name


class Folder(Output):
    """A folder on disk, made when something is put into it."""

    def names(self, *, limit: int) -> list[str]:
        """Returns names as Output.names says.

        Raises:
          OutputExistsError: the path is a file.
        """
        folder = pathlib.Path(self.path)
        if folder.exists() and not folder.is_dir():
            raise OutputExistsError(f"{self.path} is a file; wanted a folder for the clips.")
        found = folder.iterdir() if folder.exists() else iter(())
        return [path.name for path, _ in zip(found, range(limit), strict=False)]

    def read(self, name: str) -> bytes | None:
        """Returns a content as Output.read says."""
        try:
            return pathlib.Path(self.path, name).read_bytes()
        except FileNotFoundError:
            return None

    def checksum(self, name: str) -> int | None:
        """Returns a checksum as Output.checksum says."""
        try:
            with pathlib.Path(self.path, name).open("rb") as file:
                return _crc32c(file)
        except FileNotFoundError:
            return None

    def _create(self, name: str, content: BinaryIO) -> bool:
        return self._write(name, content, overwrite=False)

    def replace(self, name: str, content: bytes) -> None:
        """Replaces a content as Output.replace says."""
        try:
            unchanged = self.read(_checked(name)) == content
        except OSError:
            unchanged = False
        if not unchanged:
            self._write(name, io.BytesIO(content), overwrite=True)

    def _write(self, name: str, content: BinaryIO, *, overwrite: bool) -> bool:
        target = pathlib.Path(self.path, name)
        try:
            with files.atomic_file(str(target), overwrite=overwrite) as file:
                shutil.copyfileobj(content, file)
        except OSError as error:
            if isinstance(error, FileExistsError) and not overwrite:
                return False
            raise UnwritableError(
                f"cannot write {target}: {error.strerror}. Free some space, or choose a folder "
                "that can be written, and run the same command again; finished clips are kept."
            ) from error
        return True

    def tidy(self, folder: str) -> None:
        """Removes files as Output.tidy says."""
        shutil.rmtree(f"{self.path}/{folder}", ignore_errors=True)
        for partial in pathlib.Path(self.path).glob(f"{files.PARTIAL_PREFIX}*"):
            partial.unlink(missing_ok=True)


class Bucket(Output):
    """A prefix of a bucket of Google Cloud Storage.

    An object is created with the precondition that there is none of its name. An answer may be lost
    after the object was written: the client then asks again and is told that the name is taken,
    which is why what is there is compared before it is called a conflict.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        from google.cloud import storage
        from google.cloud.storage.retry import DEFAULT_RETRY

        bucket, _, self._prefix = self.path.removeprefix("gs://").partition("/")
        with _said_plainly(self.path):
            self._bucket = storage.Client().bucket(bucket)
        self._retry = DEFAULT_RETRY.with_timeout(_PATIENCE_SECONDS)

    def _name(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def names(self, *, limit: int) -> list[str]:
        """Returns names as Output.names says, those in folders too."""
        with _said_plainly(self.path):
            found = self._bucket.list_blobs(
                prefix=self._name(""), max_results=limit, retry=self._retry
            )
            return [blob.name[len(self._name("")) :] for blob in found]

    def read(self, name: str) -> bytes | None:
        """Returns a content as Output.read says."""
        from google.api_core import exceptions

        with _said_plainly(f"{self.path}/{name}"):
            try:
                content: bytes = self._bucket.blob(self._name(name)).download_as_bytes(
                    retry=self._retry
                )
            except exceptions.NotFound:
                return None
            return content

    def checksum(self, name: str) -> int | None:
        """Returns a checksum as Output.checksum says, without the content."""
        with _said_plainly(f"{self.path}/{name}"):
            blob = self._bucket.get_blob(self._name(name), retry=self._retry)
        return None if blob is None else _checksum_of(blob)

    def _create(self, name: str, content: BinaryIO) -> bool:
        from google.api_core import exceptions

        size = content.seek(0, os.SEEK_END)
        with _said_plainly(f"{self.path}/{name}"):
            for left in reversed(range(_RESTARTS)):
                try:
                    self._bucket.blob(self._name(name)).upload_from_file(
                        content,
                        rewind=True,
                        size=size,
                        content_type=_content_type(name),
                        if_generation_match=0,
                        checksum="crc32c",
                        retry=self._retry,
                    )
                except exceptions.PreconditionFailed:
                    return False
                except exceptions.GoogleAPICallError as error:
                    if error.code != 410 or not left:
                        raise
                else:
                    return True
        raise AssertionError("unreachable: the last try returns or raises")

    def replace(self, name: str, content: bytes) -> None:
        """Replaces a content as Output.replace says; of two writers at once, one is refused."""
        from google.api_core import exceptions

        checksum = _crc32c(io.BytesIO(content))
        with _said_plainly(f"{self.path}/{name}"):
            there = self._bucket.get_blob(self._name(_checked(name)), retry=self._retry)
            if there is not None and _checksum_of(there) == checksum:
                return
            try:
                self._bucket.blob(self._name(name)).upload_from_string(
                    content,
                    content_type=_content_type(name),
                    if_generation_match=0 if there is None else there.generation,
                    checksum="crc32c",
                    retry=self._retry,
                )
            except exceptions.PreconditionFailed:
                # The answer to our own first try may have been lost.
                if self.checksum(name) != checksum:
                    raise UnwritableError(
                        f"{self.path}/{name} was changed by another process meanwhile. Run the "
                        "same command again."
                    ) from None

    def tidy(self, folder: str) -> None:
        """Removes objects as Output.tidy says; a bucket has no half-written ones."""
        from google.api_core import exceptions

        with _said_plainly(self.path):
            for blob in self._bucket.list_blobs(prefix=self._name(f"{folder}/"), retry=self._retry):
                try:
                    blob.delete(retry=self._retry)
                except exceptions.NotFound:
                    continue


def _checksum_of(blob: Any) -> int:
    return int.from_bytes(base64.b64decode(blob.crc32c), "big")


class _said_plainly:
    """Turns what Google's clients raise into one line, without addresses that may be signed."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        import requests
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError

        if isinstance(error, exceptions.Forbidden | exceptions.Unauthorized | GoogleAuthError):
            raise UnwritableError(
                f"{self._what}: access is denied. The account needs roles/storage.objectUser on "
                "the bucket; `gcloud auth application-default login` gives you one."
            ) from None
        if isinstance(error, exceptions.NotFound):
            raise UnwritableError(f"{self._what}: there is no such bucket.") from None
        if isinstance(
            error,
            exceptions.GoogleAPIError | requests.RequestException | ConnectionError | TimeoutError,
        ):
            code = getattr(error, "code", None)
            raise UnwritableError(
                f"{self._what}: the storage did not answer as it should "
                f"({code or type(error).__name__}). Run the same command again; finished clips are "
                "kept."
            ) from None


def _content_type(name: str) -> str:
    import mimetypes

    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def open_output(path: str) -> Output:
    """Returns the place of a path: local or gs://."""
    return Bucket(path) if path.startswith("gs://") else Folder(path)
