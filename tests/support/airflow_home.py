"""Airflow in its own environment, with a home of its own, and a webhook on loopback."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import os
import pathlib
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

PROJECT = pathlib.Path(__file__).parents[2]
DAGS = PROJECT / "pipeline" / "dags"
AIRFLOW = PROJECT / ".airflow-venv" / "bin" / "airflow"


def require_airflow() -> None:
    """Skips a test where Airflow's environment was not made; fails it in CI, which makes it."""
    if AIRFLOW.exists():
        return
    reason = "needs .airflow-venv: make airflow-venv"
    if os.environ.get("NOCTURNE_CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@dataclasses.dataclass(frozen=True)
class Home:
    """A home of Airflow.

    Attributes:
      folder: it, and all that the DAGs make.
      variables: for the environment.
    """

    folder: pathlib.Path
    variables: dict[str, str]

    def airflow(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Runs an `airflow` command with more variables in its environment."""
        return subprocess.run(
            ["bash", str(PROJECT / "deploy" / "airflow.sh"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={**os.environ, **self.variables, **more},
        )

    def run(
        self, dag: str, date: str | None = None, conf: dict[str, Any] | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a DAG to its end, as the scheduler would, task by task."""
        dated = [date] if date else []
        return self.airflow("dags", "test", dag, *dated, "--conf", json.dumps(conf or {}), **more)


def make_home(folder: pathlib.Path, **variables: str) -> Home:
    """Makes a home with an empty database."""
    require_airflow()
    home = Home(
        folder=folder,
        variables={
            "AIRFLOW_HOME": str(folder / "airflow"),
            "NOCTURNE_ROOT": str(folder / "root"),
            "NOCTURNE_INPUT": str(folder / "music"),
            "NOCTURNE_OUTPUT": str(folder / "clips"),
            "NOCTURNE_RETRY_SECONDS": "0.1",
            "NOCTURNE_WAIT_SECONDS": "0.1",
            **variables,
        },
    )
    made = home.airflow("db", "migrate")
    assert made.returncode == 0, made.stdout
    return home


@contextlib.contextmanager
def webhook(status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serves a webhook; yields its address and what is posted to it."""
    posted: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append(json.loads(body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/services/T0KEN", posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
