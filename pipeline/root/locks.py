"""Locks of a MySQL server that keep processes of one pipeline root apart, and connections to it.

By default ML Metadata is a SQLite file below the root, and locks are files next to it
(storage/locks.py). A team can keep it on a MySQL or MariaDB server; then the locks are the
server's, and hold for all machines.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

from audio.errors import BusyError, UnwritableError, UsageError
from pipeline.config.sections import MetadataSettings
from storage.locks import WAIT

# The password is in the first environment variable, or in the file that the second one names.
PASSWORD = "NOCTURNE_METADATA_PASSWORD"
PASSWORD_FILE = "NOCTURNE_METADATA_PASSWORD_FILE"

# How long to wait for a server that restarts. Hours of training may precede this call.
_PATIENCE_SECONDS = 60.0
# How long to wait for the answer to one attempt.
_CONNECT_SECONDS = 60
# How long to pause between two attempts.
_PAUSE_SECONDS = 1.0
# How long a connection may wait for a lock, or hold one while a node runs.
_MONTH_SECONDS = 30 * 24 * 3600
# MySQL's error codes for wrong passwords and missing rights, which a retry cannot cure.
_REFUSALS = (1044, 1045, 1698)


@contextlib.contextmanager
def server_lock(settings: MetadataSettings, name: str, busy: str = "") -> Iterator[None]:
    """Holds a named lock of the MySQL server while the block runs.

    The server releases the lock when the connection ends.

    Args:
      settings: The server.
      name: The lock's name. Locks of different databases on one server do not meet.
      busy: As in storage.locks.file_lock.

    Raises:
      BusyError: Another process holds the lock, and `busy` is not empty.
      UnwritableError: The server cannot be reached, or it refuses the user.
    """
    # All databases of a server share one space of lock names, which have at most 64 characters.
    digest = hashlib.sha256(f"{settings.database}:{name}".encode()).hexdigest()[:48]
    connection = _connect(settings)
    try:
        cursor = connection.cursor()
        cursor.execute("SET SESSION wait_timeout = %s", (_MONTH_SECONDS,))
        seconds = 0 if busy else _MONTH_SECONDS
        cursor.execute("SELECT GET_LOCK(%s, %s)", (f"nocturne:{digest}", seconds))
        if not cursor.fetchone()[0]:
            raise BusyError(f"{busy} ({_holder(cursor, digest)}). {WAIT}")
        yield
    finally:
        with contextlib.suppress(Exception):  # a server that went away has released the lock
            connection.close()


def _holder(cursor: Any, digest: str) -> str:
    """Returns the host and port from which the holder of a lock is connected."""
    cursor.execute(
        "SELECT HOST FROM information_schema.PROCESSLIST WHERE ID = IS_USED_LOCK(%s)",
        (f"nocturne:{digest}",),
    )
    row = cursor.fetchone()
    return f"connected from {row[0]}" if row else "it has just ended"


def server_config(settings: MetadataSettings) -> Any:
    """Returns the ConnectionConfig with which ML Metadata connects to the server."""
    from ml_metadata.proto import metadata_store_pb2

    config = metadata_store_pb2.ConnectionConfig()
    config.mysql.host, config.mysql.port = settings.host, settings.port
    config.mysql.user, config.mysql.password = settings.user, _password()
    config.mysql.database = settings.database
    return config


def _connect(settings: MetadataSettings) -> Any:
    """Returns a connection to the server, after retries if it does not answer at once."""
    import pymysql

    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return pymysql.connect(
                user=settings.user,
                password=_password(),
                host=settings.host,
                port=settings.port,
                connect_timeout=_CONNECT_SECONDS,
                autocommit=True,
            )
        except pymysql.MySQLError as error:
            code, message = error.args[0], str(error.args[-1])
            if code in _REFUSALS:
                raise UnwritableError(
                    f"ML Metadata, {settings.address}: {message}. Put the password into {PASSWORD},"
                    f" or the name of a file that contains it into {PASSWORD_FILE}; the user needs "
                    "all rights on that database."
                ) from None
            if time.monotonic() > deadline:
                raise UnwritableError(
                    f"ML Metadata, {settings.address}: no connection for {_PATIENCE_SECONDS:.0f} s "
                    f"({message}). Check that the server runs and that metadata.host and "
                    "metadata.port are right, then run the same command again."
                ) from None
        time.sleep(_PAUSE_SECONDS)


def _password() -> str:
    """Returns the password, or an empty string if none is set.

    Raises:
      UsageError: The password file cannot be read.
    """
    path = os.environ.get(PASSWORD_FILE)
    if not path:
        return os.environ.get(PASSWORD, "")
    try:
        return pathlib.Path(path).read_text().rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"{PASSWORD_FILE}: {path}: {error.strerror}") from error
