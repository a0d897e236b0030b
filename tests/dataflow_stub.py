"""A stub of Dataflow on loopback: jobs are really built, staged to a bucket and submitted to it."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gcs import emulator

ROOT = pathlib.Path(__file__).parents[1]
# What a job of ours is asked for with, but for its name and package.
WORKERS = (
    "--sdk_location=container", "--sdk_container_image=example.invalid/nocturne:1",
    "--num_workers=2", "--max_num_workers=50", "--worker_machine_type=e2-standard-2",
    "--disk_size_gb=30", "--flexrs_goal=COST_OPTIMIZED", "--labels=team=audio",
    "--no_use_public_ips",
)  # fmt: skip


@contextlib.contextmanager
def dataflow(folder: pathlib.Path) -> Iterator[tuple[str, list[str], list[tuple[str, Any]]]]:
    """Serves a bucket and the service.

    Yields the bucket, the options of a job without its name, and what was submitted: a list of
    paths and bodies.
    """
    submitted: list[tuple[str, Any]] = []
    handler = type("Handler", (_Dataflow,), {"submitted": submitted})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch, emulator(folder, patch) as bucket:
        options = [
            "--runner=DataflowRunner", "--project=nocturne-test", "--region=europe-west1",
            f"--dataflow_endpoint=http://localhost:{server.server_port}",
            f"--temp_location={bucket}/temp", f"--staging_location={bucket}/staging", *WORKERS,
        ]  # fmt: skip
        yield bucket, options, submitted
    server.shutdown()
    thread.join()
    server.server_close()


class _Dataflow(http.server.BaseHTTPRequestHandler):
    """Takes any job and keeps what was asked for."""

    submitted: list[tuple[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.submitted.append((self.path, body))
        answer = json.dumps({"id": "job-1", "name": body.get("name"), "projectId": "nocturne-test",
                             "location": "europe-west1"})  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *args: object) -> None:
        pass


def build_wheel(folder: pathlib.Path) -> pathlib.Path:
    """Builds the package that workers get, from pyproject.

    From a copy: setuptools builds in the sources' own folder, and two tests may do so at once.
    """
    sources = folder / "sources"
    for name in ("audio", "beam_transforms", "trainer", "generator", "pipeline"):
        shutil.copytree(ROOT / name, sources / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, sources / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder),
         str(sources)],
        check=True, capture_output=True,
    )  # fmt: skip
    (found,) = folder.glob("*.whl")
    return found
