"""A stub of Dataflow on loopback: jobs are really built, staged to a bucket and submitted to it."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.config.load import load_config
from pipeline.config.sections import BeamSettings
from tests.support.gcs import emulator
from tests.support.http_servers import QuietHandler, serve

ROOT = pathlib.Path(__file__).parents[2]
ENVIRONMENTS = ROOT / "deploy" / "environments"


@contextlib.contextmanager
def dataflow(folder: pathlib.Path) -> Iterator[tuple[str, BeamSettings, list[tuple[str, Any]]]]:
    """Serves a bucket and the service.

    Yields the bucket, Beam's settings in the environment `emulator`, and what was submitted: a list
    of paths and bodies.
    """
    submitted: list[tuple[str, Any]] = []
    with (
        serve(_Dataflow, submitted=submitted) as server,
        pytest.MonkeyPatch.context() as patch,
        emulator(folder, patch) as bucket,
    ):
        patch.setenv("NOCTURNE_PROJECT", "nocturne-test")
        patch.setenv("NOCTURNE_REGION", "europe-west1")
        patch.setenv("NOCTURNE_BUCKET", bucket.removeprefix("gs://"))
        patch.setenv("NOCTURNE_TAG", "0.1.0")
        patch.setenv("NOCTURNE_SERVICE_PORT", str(server.server_port))
        yield bucket, load_config(str(ENVIRONMENTS / "emulator.yaml")).beam, submitted


class _Dataflow(QuietHandler):
    """Takes any job and keeps what was asked for."""

    submitted: list[tuple[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.read_body())
        self.submitted.append((self.path, body))
        answer = json.dumps({"id": "job-1", "name": body.get("name"), "projectId": "nocturne-test",
                             "location": "europe-west1"})  # fmt: skip
        self.answer(200, answer.encode(), {"Content-Type": "application/json"})


def build_wheel(folder: pathlib.Path) -> pathlib.Path:
    """Builds the package that workers get, from pyproject.

    From a copy: setuptools builds in the sources' own folder, and two tests may do so at once.
    """
    sources = folder / "sources"
    for name in ("audio", "beam_transforms", "generator", "pipeline", "storage", "trainer"):
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
