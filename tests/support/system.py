"""Programs that a test wants from the system, and Python packages do not bring."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest


def require_program(*names: str) -> str:
    """Returns the first of the programs that is there; else skips the test, by name.

    In CI, which installs them, their absence is a failure.
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
    """Returns a command that runs another with a loopback of its own and no other network.

    Beam's portable runners listen on all interfaces. Skips the test where namespaces are not to be
    had.
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
