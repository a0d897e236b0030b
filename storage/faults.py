"""Faults of the system: a full disk, no memory, too many open files, a network that is down.

They say nothing of the file that was being read or written when they came. So they end the work
with an error that names the fault and the place, and the same command continues later.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple, cast

from audio.errors import MachineError, NocturneError, UnwritableError


class _Remedy(NamedTuple):
    error: type[NocturneError]
    advice: str


_ROOM = _Remedy(UnwritableError, "Free some space there, or raise its quota")
_RIGHTS = _Remedy(UnwritableError, "Give this account the right to use it, or choose another place")
_DESCRIPTORS = _Remedy(MachineError, "Raise the limit of open files (`ulimit -n`)")
_MEMORY = _Remedy(MachineError, "End other programs, or use a machine with more memory")
_DISK = _Remedy(MachineError, "Check the disk, or the network that it is on")
_NETWORK = _Remedy(MachineError, "Check the network and the server")

_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _DESCRIPTORS),
    **dict.fromkeys((errno.ENOMEM,), _MEMORY),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENODEV, errno.EREMOTEIO), _DISK),
    **dict.fromkeys(
        (errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ETIMEDOUT,
         errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH,
         errno.ENOTCONN),
        _NETWORK,
    ),
}  # fmt: skip
# Beam and TensorFlow pass errors on as text, with the system's words for them; SQLite, NumPy and
# Google's clients have words of their own.
_IN_TEXT = (
    *((re.escape(os.strerror(number)), remedy) for number, remedy in _REMEDIES.items()),
    (r"database or disk is full|\d+ requested and \d+ written", _ROOM),
    ("disk I/O error", _DISK),
    (r"\bMemoryError\b|Unable to allocate|OOM when allocating|can't start new thread", _MEMORY),
    (r"google\.api_core\.exceptions\.\w+|google\.auth\.exceptions\.TransportError", _NETWORK),
)
# Errors that are about one file; the others are about a disk, the network or the process.
_ABOUT_ONE_FILE = (
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR),
    *(errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG),
)
_PATH = re.compile(r"(?:^|[\s'\"])(?:/|gs://)\w")
_AGAIN = "then run the same command again; finished work is kept."
# Begin of the full name of an error of Nocturne, in a text that passes it on.
_OURS = "audio.errors."
# What Beam and TensorFlow add to a message.
_NOISE = re.compile(r" \[while running .*| \[Op:.*|^\{\{.*?\}\} ")


def find_fault(error: BaseException) -> NocturneError | None:
    """Returns what a user is to be told of a fault of the system; None for any other error.

    Args:
      error: An exception, or one that passes on the text of another, as Beam's and TensorFlow's do.
    """
    if isinstance(error, MemoryError):
        return _explain("out of memory", _MEMORY)
    if isinstance(error, OSError) and error.errno is not None:
        remedy = _REMEDIES.get(error.errno)
        place = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return _explain(f"{place}{error.strerror}", remedy) if remedy else None
    if _OURS in str(error):
        return None  # what failed has been named, and find_nocturne_error will find it
    # The text of a traceback ends with the error itself.
    for line in reversed(str(error).splitlines()):
        for pattern, remedy in _IN_TEXT:
            if re.search(pattern, line):
                return _explain(_NOISE.sub("", line).strip()[:300].rstrip("."), remedy)
    return None


def _explain(text: str, remedy: _Remedy) -> NocturneError:
    return remedy.error(f"{text}. {remedy.advice}, {_AGAIN}")


@contextlib.contextmanager
def named(place: str) -> Iterator[None]:
    """Lets a fault of the system that ends the block name a place, if it names none itself.

    Args:
      place: What the block writes to.
    """
    try:
        yield
    except NocturneError:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and _OURS not in str(cause):
            fault = find_fault(cause)
            if fault is not None:
                text = str(fault)
                has_place = place in text or _PATH.search(text)
                raise type(fault)(text if has_place else f"{place}: {text}") from error
            cause = cause.__cause__ or cause.__context__
        raise


def is_about_one_file(error: BaseException) -> bool:
    """Returns whether a file could not be opened because it is missing, or not permitted."""
    return isinstance(error, OSError) and error.errno in _ABOUT_ONE_FILE


def unwritable(error: OSError | MemoryError, path: str) -> NocturneError:
    """Returns the error that ends the work when a file cannot be written."""
    remedy = _REMEDIES.get(_number(error), _RIGHTS)
    if remedy in (_DISK, _NETWORK):
        remedy = remedy._replace(error=UnwritableError)
    return _explain(f"cannot write {path}: {_reason(error)}", remedy)


def unreadable(error: OSError | MemoryError, path: str) -> NocturneError:
    """Returns the error that ends the work when the system cannot read a file.

    A remote file is copied to a temporary one to be read, so that a full disk is that of the copy.
    """
    remedy = _REMEDIES.get(_number(error), _DISK)
    where = f" to {tempfile.gettempdir()}" if remedy is _ROOM else ""
    return _explain(f"cannot read {path}{where}: {_reason(error)}", remedy)


def _number(error: OSError | MemoryError) -> int:
    return error.errno or 0 if isinstance(error, OSError) else errno.ENOMEM


def _reason(error: OSError | MemoryError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "out of memory"


@contextlib.contextmanager
def explain_google_errors(path: str) -> Iterator[None]:
    """Turns errors of Google's clients into one line each, without URLs, which may be signed."""
    import requests
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (exceptions.Forbidden, exceptions.Unauthorized, GoogleAuthError):
        reason = (
            "access is denied. The account needs roles/storage.objectUser on the bucket; "
            "`gcloud auth application-default login` logs in with your own."
        )
    except exceptions.NotFound:
        reason = "there is no such bucket."
    except (
        exceptions.GoogleAPIError,
        requests.RequestException,
        ConnectionError,
        TimeoutError,
    ) as error:
        code = getattr(error, "code", None) or type(error).__name__
        reason = (
            f"the storage service did not answer as expected ({code}). Run the same command again; "
            "finished work is kept."
        )
    else:
        return
    raise UnwritableError(f"{path}: {reason}")


@contextlib.contextmanager
def watching(
    file: Any, explain: Callable[[OSError | MemoryError], Exception]
) -> Iterator[BinaryIO]:
    """Yields a file whose faults end the block, even if a library in C drops them.

    C libraries call a file's methods and ignore what these raise. For libsndfile, for example, a
    disk that fails is the end of the file, so that it takes a good recording for a truncated one.

    Args:
      file: An open file.
      explain: Returns the error to raise for a fault.
    """
    watched = _WatchedFile(file)
    try:
        yield cast(BinaryIO, watched)
    finally:
        if watched.fault is not None:
            raise explain(watched.fault) from watched.fault


class _WatchedFile:
    """An open file that remembers the first fault in one of its methods."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.fault: OSError | MemoryError | None = None

    def __getattr__(self, name: str) -> Any:
        """Returns an attribute of the file; if it is a method, with its errors watched."""
        value = getattr(self._file, name)
        if not callable(value):
            return value

        def call(*args: Any) -> Any:
            try:
                return value(*args)
            except (OSError, MemoryError) as error:
                # The header of a damaged file may lead to a place before its start.
                if self.fault is None and getattr(error, "errno", None) != errno.EINVAL:
                    self.fault = error
                raise

        self.__dict__[name] = call
        return call
