"""Locks: one process at a time writes to an output.

On a disk, a lock is the operating system's, on a file, and ends when the process dies. A bucket has
no such locks. There, a lock is an object that only one process can create. It has to be renewed
before it expires, so that a process that died does not keep it.
"""

from __future__ import annotations

import _thread
import contextlib
import datetime
import errno
import fcntl
import json
import logging
import os
import pathlib
import platform
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from audio.errors import BusyError, NocturneError, UnwritableError
from storage import faults, files
from storage.outputs import Bucket

# Name of the lock of a folder, which is removed when the work ends.
LOCK = ".lock"
# End of the message of an error that says who holds a lock.
WAIT = "Wait until it has ended, or end it."

# How long a lock in a bucket counts without being renewed, seconds. The clocks of two machines may
# differ by the difference between these two.
_EXPIRY_SECONDS = 600.0
_RENEWAL_SECONDS = 60.0
# Errors of file systems that have no locks, such as some that mount buckets.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def exclusive(folder: str) -> Iterator[None]:
    """Holds the lock of a folder, local or gs://, while the block runs.

    Folders that are made for the lock are removed with it if nothing else was written to them.

    Raises:
      BusyError: Another process holds the lock; the message says which.
      UnwritableError: The lock cannot be written.
    """
    folder = folder.rstrip("/")
    busy = f"{folder}: another process is at work there"
    if folder.startswith("gs://"):
        with _bucket_lock(Bucket(folder), busy):
            yield
        return
    if files.is_remote(folder):
        logging.warning("%s: nothing guards it from a second process", folder)
        yield
        return
    path = pathlib.Path(folder, LOCK)
    made = [parent for parent in path.parents if not parent.exists()]
    try:
        with file_lock(path, busy):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)  # while it is held; see _is_at
    finally:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


@contextlib.contextmanager
def file_lock(path: pathlib.Path, busy: str = "") -> Iterator[None]:
    """Holds an exclusive lock on a file while the block runs.

    The operating system releases the lock when the process dies.

    Args:
      path: The lock file. It is created if it is missing, and it stays.
      busy: Begin of the message of the error to raise if another process holds the lock. Its end
        says which process that is. If it is empty, the call waits for the lock.

    Raises:
      BusyError: Another process holds the lock, and `busy` is not empty.
      UnwritableError: The lock file cannot be made.
    """
    handle = _lock(path, busy)
    try:
        with contextlib.suppress(OSError):  # on a full disk, the lock holds without a name
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps(_holder()).encode())
        yield
    finally:
        os.close(handle)


def _lock(path: pathlib.Path, busy: str) -> int:
    """Returns the handle of a locked file, which is still the one of that name."""
    while True:
        handle = _open(path)
        try:
            _flock(handle, path, busy)
            if _is_at(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _open(path: pathlib.Path, attempts: int = 10) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        # Whoever held the lock may just have removed its folder.
        if isinstance(error, FileNotFoundError) and attempts:
            return _open(path, attempts - 1)
        raise faults.unwritable(error, str(path)) from error


def _flock(handle: int, path: pathlib.Path, busy: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
    except BlockingIOError:
        raise BusyError(_busy_message(busy, os.read(handle, 1000))) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise faults.unwritable(error, str(path)) from error
        logging.warning("%s: this file system has no locks, so nothing guards its folder", path)


def _is_at(handle: int, path: pathlib.Path) -> bool:
    """Returns whether an open file still has a name; `exclusive` removes its file."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _bucket_lock(bucket: Bucket, busy: str) -> Iterator[None]:
    """Holds the lock of a bucket's prefix, and renews it in a thread.

    If the lock is lost, because the bucket could not be reached until another process was allowed
    to take it, the block is interrupted as if by Ctrl-C.
    """
    lock = _BucketLock(bucket, busy)
    lock.take()
    ended = threading.Event()
    lost: list[NocturneError] = []

    def renew() -> None:
        while not ended.wait(_RENEWAL_SECONDS):
            try:
                lock.renew()
            except NocturneError as error:
                lost.append(error)
                _thread.interrupt_main()
                return

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        with _interruptible(lost):
            yield
    except KeyboardInterrupt:
        if lost:
            raise lost[0] from None
        raise
    finally:
        ended.set()
        thread.join()
        if not lost:
            lock.release()


@contextlib.contextmanager
def _interruptible(lost: list[NocturneError]) -> Iterator[None]:
    """Lets interrupt_main work in processes that ignore Ctrl-C, such as those of cron and nohup.

    Args:
      lost: Why the block has to end; Ctrl-C stays ignored while there is no reason.
    """

    def interrupt(*_: object) -> None:
        if lost:
            raise KeyboardInterrupt

    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class _BucketLock:
    """An object that says who holds a lock and until when."""

    def __init__(self, bucket: Bucket, busy: str) -> None:
        self._bucket, self._busy = bucket, busy
        self._token = uuid.uuid4().hex
        self._generation = 0
        self._expires = 0.0

    def take(self) -> None:
        """Creates the object, or replaces one that has expired.

        Raises:
          BusyError: Another process holds the lock.
        """
        earlier = self._bucket.read_version(LOCK)
        if earlier is not None:
            if _parse(earlier[0]).get("expires", 0.0) > time.time():
                raise BusyError(_busy_message(self._busy, earlier[0]))
            self._generation = earlier[1]
        self._write()

    def renew(self) -> None:
        """Moves the time at which the lock expires.

        Raises:
          BusyError: Another process has taken the lock.
          UnwritableError: The bucket cannot be reached, and the lock has expired.
        """
        try:
            self._write()
        except UnwritableError:
            if time.time() > self._expires:
                raise

    def release(self) -> None:
        """Removes the object, if it is still ours."""
        self._bucket.remove_version(LOCK, self._generation)

    def _write(self) -> None:
        expires = time.time() + _EXPIRY_SECONDS
        content = json.dumps({**_holder(), "token": self._token, "expires": expires}).encode()
        self._bucket.write_version(LOCK, content, self._generation)
        # A write whose answer was lost is repeated by the client, and then refused: look who won.
        found = self._bucket.read_version(LOCK)
        if found is None or _parse(found[0]).get("token") != self._token:
            raise BusyError(_busy_message(self._busy, found[0] if found else b""))
        self._generation, self._expires = found[1], expires


def _holder() -> dict[str, Any]:
    """Returns what a lock says of this process."""
    return {"pid": os.getpid(), "host": platform.node(), "since": round(time.time())}


def _parse(content: bytes) -> dict[str, Any]:
    """Returns what a lock says of its holder; nothing if the holder could not write it."""
    try:
        return dict(json.loads(content))
    except (ValueError, TypeError):
        return {}


def _busy_message(busy: str, content: bytes) -> str:
    holder = _parse(content)
    who = "it does not say which"
    if {"pid", "host", "since"} <= holder.keys():
        since = datetime.datetime.fromtimestamp(holder["since"], datetime.UTC)
        who = f"pid {holder['pid']} on {holder['host']}, since {since:%Y-%m-%d %H:%M} UTC"
    return f"{busy} ({who}). {WAIT}"
