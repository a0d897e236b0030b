"""Paths below a pipeline root.

ROOT/metadata.sqlite      ML Metadata: which artifact was made from which, unless it is on a server
ROOT/artifacts/NODE/...   TFX's artifacts, datasets and models among them
ROOT/pushed/VERSION/      blessed models
ROOT/runs/ID/             configuration, logs, summary and page of a run

A root may be on gs://. Locks and logs are files that change in place, which a bucket does not
support, so these are then in a folder of this machine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import re
import time
from collections.abc import Sequence
from typing import Any

from audio.errors import UsageError
from pipeline.config.sections import MetadataSettings
from pipeline.root.locks import server_config
from storage import files

# Training and generation have the same pipeline name, so that generation finds the models of
# training in ML Metadata, and the history of a clip is one graph.
PIPELINE_NAME = "nocturne"
# Name of the file in a run's folder with its nodes, their outcomes and figures.
RUN_SUMMARY = "run.json"
# The id of a run is the name of its folder. Airflow's run ids must match, too.
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+~-]{0,199}")


def new_run_id(kind: str) -> str:
    """Returns a new run id. The ids of one kind sort by time."""
    return f"{kind}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"


def run_id_for(kind: str, run_id: str | None, only: str | None) -> str:
    """Returns the id of a run: the given one, or a new one.

    Args:
      kind: Kind of the run, `training` or `generation`.
      run_id: Id that the user gave.
      only: Name of the single node to run, which must belong to a run with a given id.

    Raises:
      UsageError: The id cannot name a folder, or it is missing although `only` is given.
    """
    if only and not run_id:
        raise UsageError("--only: wanted --run-id too, which says to which run the node belongs")
    if only and not only.isidentifier():
        raise UsageError(f"--only: wanted a node that `nocturne run nodes` lists, got {only!r}")
    if run_id and not _RUN_ID.fullmatch(run_id):
        raise UsageError(
            "--run-id: wanted up to 200 letters, digits and _.:+~- with a letter or digit first, "
            f"got {run_id!r}"
        )
    return run_id or new_run_id(kind)


def run_log(root: str, run_id: str, only: str | None) -> pathlib.Path:
    """Returns the log file of a run, or of its node `only`: nodes may run at the same time."""
    name = f"log-{only}.txt" if only else "log.txt"
    return local_folder(root) / "runs" / run_id / name


def local_folder(root: str) -> pathlib.Path:
    """Returns the folder for a root's locks and logs: a local root itself, or one in the home."""
    if not files.is_remote(root):
        return pathlib.Path(root)
    name = re.sub(r"\W+", "-", root.rstrip("/").partition("://")[2])[-60:].strip("-")
    digest = hashlib.sha256(root.rstrip("/").encode()).hexdigest()[:8]
    return files.state_folder() / "roots" / f"{name}-{digest}"


@dataclasses.dataclass(frozen=True)
class Layout:
    """Paths below a root.

    Attributes:
      root: Absolute path of a local folder, or gs://BUCKET/PREFIX.
      settings: Where ML Metadata is.
    """

    root: str
    settings: MetadataSettings = dataclasses.field(default_factory=MetadataSettings)

    @classmethod
    def at(cls, root: str, settings: MetadataSettings | None = None) -> Layout:
        """Returns the layout below a folder. A local path is made absolute, because TFX stores it.

        Raises:
          UsageError: The root is neither local nor on gs://, TFX would take it for a pattern, or it
            is on gs:// and ML Metadata is neither on a local disk nor on a server.
        """
        settings = settings or MetadataSettings()
        if not files.is_remote(root):
            files.check_path(root, "--root", plain=True)
            return cls(str(pathlib.Path(root).resolve()), settings)
        if not re.fullmatch(r"gs://[^/]+(/[^/]+)*/?", root):
            raise UsageError(f"--root: wanted a folder or gs://BUCKET/PREFIX, got {root!r}")
        if not settings.on_server and settings.path is None:
            raise UsageError(
                f"--root {root}: ML Metadata's SQLite file cannot be in a bucket. Set "
                "metadata.path to a file on a disk, or metadata.kind to mysql."
            )
        return cls(root.rstrip("/"), settings)

    @property
    def metadata(self) -> str:
        """Address of ML Metadata: its SQLite file, or its server."""
        return self.settings.address if self.settings.on_server else self.metadata_file

    @property
    def metadata_file(self) -> str:
        """SQLite file of ML Metadata, unless it is on a server."""
        path = self.settings.path
        return str(pathlib.Path(path).resolve()) if path else f"{self.root}/metadata.sqlite"

    @property
    def local(self) -> pathlib.Path:
        """Folder of this machine for locks and logs."""
        return local_folder(self.root)

    @property
    def artifacts(self) -> str:
        """Folder of TFX's artifacts, which TFX calls its pipeline root."""
        return f"{self.root}/artifacts"

    @property
    def pushed(self) -> str:
        """Folder of the blessed models, with one folder for each version."""
        return f"{self.root}/pushed"

    def run_folder(self, run_id: str) -> str:
        """Returns the folder of a run."""
        return f"{self.root}/runs/{run_id}"

    def metadata_config(self) -> Any:
        """Returns TFX's connection settings, which contain a server's password."""
        if self.settings.on_server:
            return server_config(self.settings)
        from tfx.orchestration import metadata

        pathlib.Path(self.metadata_file).parent.mkdir(parents=True, exist_ok=True)
        return metadata.sqlite_metadata_connection_config(self.metadata_file)

    @staticmethod
    def beam_args(args: Sequence[str]) -> list[str]:
        """Returns Beam options for TFX.

        If no option says what workers need, TFX builds a source package of itself for every node.
        An image's name prevents that; the in-process runner starts no worker and ignores it.
        """
        if any("FnApiRunner" in arg for arg in args):
            return [*args, "--sdk_container_image=in-process"]
        return list(args)
