"""Database servers from the system's packages, each an instance of its own on loopback."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.support.system import require_program

PASSWORD = "only for the test"
DATABASE = "nocturne"


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
      port: on 127.0.0.1.
      user: who may make the database.
      sql: runs statements and returns what they print.
    """

    port: int
    user: str
    sql: Callable[[str], str]

    def settings(self) -> list[str]:
        """Returns the overrides that lead to it; the password is in NOCTURNE_METADATA_PASSWORD."""
        return [
            "metadata.kind=mysql",
            "metadata.host=127.0.0.1",
            f"metadata.port={self.port}",
            f"metadata.user={self.user}",
            f"metadata.database={DATABASE}",
        ]


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Serves an empty MariaDB; skips the test if it is not installed."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nocturne-db-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        with _mariadb(folder, _free_port()) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _mariadb(folder: pathlib.Path, port: int) -> Iterator[Server]:
    daemon = require_program("mariadbd", "/usr/sbin/mariadbd")
    data = folder / "data"
    _run(
        [require_program("mariadb-install-db"), "--no-defaults", f"--datadir={data}",
         "--auth-root-authentication-method=normal", "--skip-test-db"],
        folder,
    )  # fmt: skip
    socket_file = folder / "socket"
    command = [daemon, "--no-defaults", f"--datadir={data}", f"--port={port}",
               "--bind-address=127.0.0.1", f"--socket={socket_file}",
               f"--pid-file={folder / 'pid'}", "--skip-name-resolve"]  # fmt: skip
    client = [require_program("mariadb"), "--no-defaults", f"--socket={socket_file}", "-u", "root",
              "-N", "-B"]  # fmt: skip

    def sql(statements: str, database: str = DATABASE) -> str:
        return _run([*client, "-e", statements, database], folder)

    with _process(command, folder, lambda: sql("SELECT 1", "mysql")):
        sql(
            f"CREATE USER team@127.0.0.1 IDENTIFIED BY '{PASSWORD}'; "
            f"GRANT ALL ON {DATABASE}.* TO team@127.0.0.1",
            "mysql",
        )
        yield Server(port, "team", sql)


@contextlib.contextmanager
def _process(
    command: Sequence[object], folder: pathlib.Path, ask: Callable[[], str]
) -> Iterator[None]:
    """Runs a server until the block ends; the block begins once it answers."""
    log = (folder.with_suffix(".log")).open("wb")
    with log:
        server = subprocess.Popen(
            [str(part) for part in command], cwd=folder, stdout=log, stderr=log, **_unprivileged()
        )
    path = pathlib.Path(log.name)
    try:
        deadline = time.monotonic() + 60
        while not _answers(ask):
            assert server.poll() is None, path.read_text()
            assert time.monotonic() < deadline, path.read_text()
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait(timeout=60)
        path.unlink()


def _answers(ask: Callable[[], str]) -> bool:
    try:
        ask()
    except RuntimeError:
        return False
    return True


def _run(command: Sequence[object], folder: pathlib.Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        **_unprivileged(),
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout.strip()


def _unprivileged() -> dict[str, Any]:
    """Servers refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
