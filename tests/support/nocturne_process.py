"""A `nocturne` that starts in a moment: its processes are forked from one that loaded TFX before.

Loading TFX and TensorFlow takes 10 to 20 s of CPU time. A server does so once for all pytest
workers and forks a process for each command. It only imports: the runtimes of TensorFlow and gRPC,
which do not survive a fork, start in the forked processes.

  test or Airflow -> FOLDER/nocturne (the client) -> FOLDER/socket -> server
                       |  passes arguments, environment,                | forks
                       |  current folder, stdin, stdout, stderr         v
                       '<--------------- exit code ------------------ keeper -> command

If the client is killed, the keeper kills the command with SIGKILL.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence

_PROJECT = pathlib.Path(__file__).parents[2]
_PRELOADED = (
    "generator.executor",
    "pipeline.cli.app",
    "pipeline.components.generation_pipeline",
    "pipeline.components.training_pipeline",
    "pipeline.report.page",
    "pipeline.runs.launch",
    "pipeline.runs.results",
    "trainer.run_fn",
)
_SECONDS_TO_START = 300
_SERVERS: list[subprocess.Popen[bytes]] = []
_CLIENT = """#!{python} -IS
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({path!r})
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(connection, [len(request).to_bytes(4, "big")], [0, 1, 2])
connection.sendall(request)
code = int(connection.recv(16) or 1)
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


def forking_nocturne() -> pathlib.Path:
    """Returns the program, after the server of this test run was started if it was not yet."""
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "alone")
    folder = pathlib.Path(tempfile.gettempdir(), f"nocturne-tests-{run}-{owner}")
    folder.mkdir(mode=0o700, exist_ok=True)
    program = folder / "nocturne"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _start_server(folder, owner)
            program.write_text(_CLIENT.format(python=sys.executable, path=str(folder / "socket")))
            program.chmod(0o755)
    return program


def _start_server(folder: pathlib.Path, owner: int) -> None:
    with (folder / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nocturne_process", str(folder), str(owner)],
            cwd=_PROJECT,
            env={**os.environ, "PYTHONPATH": str(_PROJECT), "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in a terminal is for pytest
        )
    _SERVERS.append(server)  # Popen warns if it is collected while the process runs
    deadline = time.monotonic() + _SECONDS_TO_START
    while not (folder / "socket").exists():
        assert server.poll() is None, (folder / "log.txt").read_text()
        assert time.monotonic() < deadline, (folder / "log.txt").read_text()
        time.sleep(0.1)


def _serve(folder: pathlib.Path, owner: int) -> None:
    """Answers clients until the process that owns the test run has ended."""
    for name in _PRELOADED:
        importlib.import_module(name)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "starting"))
    listener.listen(100)
    listener.settimeout(1)
    (folder / "starting").rename(folder / "socket")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    while pathlib.Path(f"/proc/{owner}").exists():
        with contextlib.suppress(TimeoutError):
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _keep(connection)
            connection.close()
    shutil.rmtree(folder)


def _keep(connection: socket.socket) -> None:
    """Runs a client's command in a process of its own and sends back its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, files, _, _ = socket.recv_fds(connection, 4, 3)
    with connection.makefile("rb") as stream:
        arguments, cwd, environment = json.loads(stream.read(int.from_bytes(size, "big")))
    command = os.fork()
    if command == 0:
        connection.close()
        _run(arguments, cwd, environment, files)
    for file in files:
        os.close(file)
    client = connection.fileno()
    ended, _, _ = select.select([os.pidfd_open(command), client], [], [])
    if client in ended:  # it says nothing more, so it was killed
        os.kill(command, signal.SIGKILL)
    _, status = os.waitpid(command, 0)
    with contextlib.suppress(OSError):
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _run(
    arguments: list[str], cwd: str, environment: Mapping[str, str], files: Sequence[int]
) -> None:
    from pipeline.cli.app import app

    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for target, source in enumerate(files):
        os.dup2(source, target)
    code: object = 1
    try:
        app(arguments, prog_name="nocturne")
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    _serve(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
