"""Programs that tests need from the system, because no Python package brings them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest


def require_program(*names: str) -> str:
    """Returns the path of the first program that is installed; skips the test if none is.

    In CI, which installs them, a missing program fails the test.
    """
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    reason = f"needs {' or '.join(names)}"
    if os.environ.get("NOCTURNE_CI"):
        pytest.fail(f"{reason}, which .ci/run should have installed")
    return pytest.skip(reason)


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, *, kilobytes: int) -> Iterator[pathlib.Path]:
    """Mounts a small disk on a folder, which is made; skips the test if that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    tried = subprocess.run(mount, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"needs to mount a disk: {tried.stderr.strip()[-200:]}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize_disk(folder: pathlib.Path, *, kilobytes: int) -> None:
    """Gives a disk of small_disk another size."""
    options = f"remount,size={kilobytes}k"
    subprocess.run(["mount", "-o", options, str(folder)], check=True)


_NAMESPACE = """
import fcntl, os, socket, struct, sys
with socket.socket() as sock:
    up = struct.pack("16sh", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
    fcntl.ioctl(sock, 0x8914, up)  # SIOCSIFFLAGS
os.execv(sys.argv[1], sys.argv[1:])
"""


def in_network_namespace(*command: str) -> list[str]:
    """Returns a command that runs another one with only a loopback interface of its own.

    Beam's portable runners listen on all interfaces. Skips the test if the system allows no network
    namespaces.
    """
    unshare = require_program("unshare")
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    wrapped = [unshare, *user, "--net", sys.executable, "-c", _NAMESPACE]
    tried = subprocess.run([*wrapped, "/bin/true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        reason = f"needs network namespaces: {tried.stderr.strip()[-200:]}"
        if os.environ.get("NOCTURNE_CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return [*wrapped, *command]
