"""Programs that tests need from the system, because no Python package brings them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

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
