"""Where ML Metadata is kept, and how programs that use it keep out of each other's way.

By default that is a SQLite file below the root, and locks are files beside it. A team keeps it on a
PostgreSQL or MySQL server: locks are the server's own then, and hold for all machines.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

from audio.errors import NocturneError, UnwritableError, UsageError

SQLITE, POSTGRESQL, MYSQL = "sqlite", "postgresql", "mysql"
_PORTS = {POSTGRESQL: 5432, MYSQL: 3306}
# The password is in one of these environment variables, or in the file that the other one names.
PASSWORD = "NOCTURNE_METADATA_PASSWORD"
PASSWORD_FILE = "NOCTURNE_METADATA_PASSWORD_FILE"

# A server that restarts is waited for: hours of training may stand before this call.
_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 1.0
# Of a connection that waits for a lock, or holds one while a node runs.
_A_MONTH_SECONDS = 30 * 24 * 3600
# What makes no sense to try again: wrong passwords, no rights. SQLSTATE and MySQL's codes.
_REFUSALS = ("28P01", "28000", "42501", 1044, 1045, 1698)
# A node may run for hours while its lock is held; versions before 14 have no such limit.
_NEVER_IDLE = (
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"
)
_NO_SUCH_DATABASE, _DATABASE_EXISTS = "3D000", ("42P04", "23505")


class BusyError(NocturneError):
    """Another process is at the same work."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetadataSettings:
    """Where ML Metadata is kept. The password never stands here, see PASSWORD.

    Attributes:
      kind: sqlite, postgresql or mysql (which MariaDB is, too).
      path: of the SQLite file; ROOT/metadata.sqlite where none is given. A root on gs:// needs one,
        on a disk.
      host, port: of the server; the usual port of its kind where none is given.
      database: its name on the server; made where it is missing and the user may.
      user: the name to log in with.
    """

    kind: str = SQLITE
    path: str | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    database: str = "nocturne"
    user: str = "nocturne"

    def __post_init__(self) -> None:
        word = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}"
        checks = {
            "kind": (self.kind in (SQLITE, *_PORTS), "sqlite, postgresql or mysql"),
            "path": (
                self.path is None or (self.kind == SQLITE and "://" not in self.path),
                "a file on a disk, and kind sqlite",
            ),
            "host": (re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", self.host), "a host's name or address"),
            "port": (self.port is None or 1 <= self.port <= 65535, "1 to 65535, or null"),
            "database": (re.fullmatch(word, self.database), "letters, digits and _.-"),
            "user": (re.fullmatch(r"[A-Za-z0-9_.@-]{1,128}", self.user), "letters, digits, _.@-"),
        }
        for name, (ok, wanted) in checks.items():
            if not ok:
                raise UsageError(f"metadata.{name}: wanted {wanted}, got {getattr(self, name)!r}")

    @property
    def on_server(self) -> bool:
        """Whether it is on a server, and not in a file."""
        return self.kind != SQLITE

    @property
    def address(self) -> str:
        """What names a server in manifests and messages: no password is in it."""
        port = self.port or _PORTS[self.kind]
        return f"{self.kind}://{self.user}@{self.host}:{port}/{self.database}"


def server_config(settings: MetadataSettings) -> Any:
    """Returns what ML Metadata wants to connect to a server."""
    from ml_metadata.proto import metadata_store_pb2

    config = metadata_store_pb2.ConnectionConfig()
    port, password = settings.port or _PORTS[settings.kind], _password()
    if settings.kind == POSTGRESQL:
        config.postgresql.host = settings.host
        config.postgresql.port = str(port)
        config.postgresql.user = settings.user
        # ML Metadata puts it as it stands into a string of `key=value`.
        quoted = password.replace("\\", "\\\\").replace("'", "\\'")
        config.postgresql.password = f"'{quoted}'"
        config.postgresql.dbname = settings.database
        config.postgresql.skip_db_creation = True
    else:
        config.mysql.host, config.mysql.port = settings.host, port
        config.mysql.user, config.mysql.password = settings.user, password
        config.mysql.database = settings.database
    return config


@contextlib.contextmanager
def server_lock(settings: MetadataSettings, name: str, busy: str = "") -> Iterator[None]:
    """Holds a lock of the server while the block runs; it is free once the connection is gone.

    Args:
      settings: the server.
      name: of the lock, in the database.
      busy: what to say where another process holds the lock; where empty, it is waited for.

    Raises:
      BusyError: another process holds it.
      UnwritableError: the server cannot be reached, or refuses the user.
    """
    # One lock space may serve several databases, and has room for 64 bits or characters.
    digest = hashlib.sha256(f"{settings.database}:{name}".encode()).digest()
    connection = _connect(settings)
    try:
        lock = _lock_postgresql if settings.kind == POSTGRESQL else _lock_mysql
        if not lock(connection.cursor(), digest, wait=not busy):
            raise BusyError(busy)
        yield
    finally:
        with contextlib.suppress(Exception):  # a server that went away has freed it
            connection.close()


def _lock_postgresql(cursor: Any, digest: bytes, *, wait: bool) -> bool:
    key = int.from_bytes(digest[:8], "big", signed=True)
    cursor.execute(_NEVER_IDLE)
    if wait:
        cursor.execute("SELECT pg_advisory_lock(%s)", (key,))
        return True
    cursor.execute("SELECT pg_try_advisory_lock(%s)", (key,))
    return bool(cursor.fetchone()[0])


def _lock_mysql(cursor: Any, digest: bytes, *, wait: bool) -> bool:
    cursor.execute("SET SESSION wait_timeout = %s", (_A_MONTH_SECONDS,))
    seconds = _A_MONTH_SECONDS if wait else 0
    cursor.execute("SELECT GET_LOCK(%s, %s)", (f"nocturne:{digest.hex()[:48]}", seconds))
    return bool(cursor.fetchone()[0])


def _connect(settings: MetadataSettings) -> Any:
    """Returns a connection; a server that does not answer is asked again for a while."""
    connect = _connect_postgresql if settings.kind == POSTGRESQL else _connect_mysql
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return connect(settings)
        except Exception as error:
            code, said = _reason(error)
            if code in _REFUSALS:
                raise UnwritableError(
                    f"ML Metadata, {settings.address}: {said}. Put the password into {PASSWORD}, "
                    f"or the name of a file with it into {PASSWORD_FILE}; the user needs all "
                    "rights on that database."
                ) from None
            if time.monotonic() > give_up:
                raise UnwritableError(
                    f"ML Metadata, {settings.address}: no connection for {_PATIENCE_SECONDS:.0f} s "
                    f"({said}). See that the server runs and that metadata.host and metadata.port "
                    "are its own, and run the same command again."
                ) from None
        time.sleep(_PAUSE_SECONDS)


def _connect_postgresql(settings: MetadataSettings, database: str | None = None) -> Any:
    import pg8000.dbapi

    # A lock may be waited for longer than a connection, so only this has a limit.
    address = settings.host, settings.port or _PORTS[POSTGRESQL]
    sock = socket.create_connection(address, _PATIENCE_SECONDS)
    try:
        connection = pg8000.dbapi.connect(
            user=settings.user,
            password=_password(),
            database=database or settings.database,
            sock=sock,
        )
    except pg8000.dbapi.DatabaseError as error:
        sock.close()
        if database or _reason(error)[0] != _NO_SUCH_DATABASE:
            raise
        _create_database(settings)
        return _connect_postgresql(settings)
    connection.autocommit = True
    return connection


def _create_database(settings: MetadataSettings) -> None:
    with contextlib.closing(_connect_postgresql(settings, "postgres")) as connection:
        try:
            connection.cursor().execute(f'CREATE DATABASE "{settings.database}"')
        except Exception as error:
            if _reason(error)[0] not in _DATABASE_EXISTS:  # of two at once, one wins
                raise


def _connect_mysql(settings: MetadataSettings) -> Any:
    import pymysql

    return pymysql.connect(
        user=settings.user,
        password=_password(),
        host=settings.host,
        port=settings.port or _PORTS[MYSQL],
        connect_timeout=int(_PATIENCE_SECONDS),
        autocommit=True,
    )


def _reason(error: Exception) -> tuple[Any, str]:
    """Returns the code and the message of what a client raised: pg8000 has a dict of letters."""
    first = error.args[0] if error.args else ""
    if isinstance(first, dict):
        return first.get("C"), str(first.get("M"))
    return first, str(error.args[-1] if error.args else type(error).__name__)


def _password() -> str:
    """Returns the password, empty where there is none.

    Raises:
      UsageError: the file that should hold it cannot be read.
    """
    path = os.environ.get(PASSWORD_FILE)
    if not path:
        return os.environ.get(PASSWORD, "")
    try:
        return pathlib.Path(path).read_text().rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"{PASSWORD_FILE}: {path}: {error.strerror}") from error
