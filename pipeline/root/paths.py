"""Where things are below a pipeline's root.

ROOT/metadata.sqlite      ML Metadata: what was made from what (or on a server: connections.py)
ROOT/artifacts/NODE/...   TFX's artifacts, datasets and models among them
ROOT/pushed/VERSION/      blessed models
ROOT/runs/ID/             a run's effective configuration, its logs, its summary and its page

A root may be on gs://. Locks and logs are files that grow, which buckets do not have: these are
then in a folder of this machine.
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

# Training and generation share one name: ML Metadata then finds the models of the one for the
# other, and a clip's history is one graph.
PIPELINE_NAME = "nocturne"
# Of a run's folder: its nodes, with outcomes and durations.
RUN_SUMMARY = "run.json"
# A run's id names a folder; Airflow's run ids are among those that must pass.
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+~-]{0,199}")


def new_run_id(kind: str) -> str:
    """Returns a name for a run that sorts by time."""
    return f"{kind}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"


def run_id_for(kind: str, given: str | None, only: str | None) -> str:
    """Returns a run's id: the given one, or else a new one of its kind.

    Args:
      kind: training or generation.
      given: by the user.
      only: the one node that is to run; it needs a run to belong to.

    Raises:
      UsageError: it cannot name a run, or a node is to run in none.
    """
    if only and not given:
        raise UsageError("--only: wanted --run-id too, which ties the nodes of a run together")
    if only and not only.isidentifier():
        raise UsageError(f"--only: wanted a node as `nocturne run nodes` names it, got {only!r}")
    if given and not _RUN_ID.fullmatch(given):
        raise UsageError(
            "--run-id: wanted up to 200 letters, digits and _.:+~- with a letter or digit first, "
            f"got {given!r}"
        )
    return given or new_run_id(kind)


def run_log(root: str, run_id: str, only: str | None) -> pathlib.Path:
    """Returns the log of a run, or of its one node: nodes of one run may run at once."""
    name = f"log-{only}.txt" if only else "log.txt"
    return local_folder(root) / "runs" / run_id / name


def local_folder(root: str) -> pathlib.Path:
    """Returns the folder on this machine for a root's locks and logs: a local root is it itself."""
    if "://" not in root:
        return pathlib.Path(root)
    name = re.sub(r"\W+", "-", root.rstrip("/").partition("://")[2])[-60:].strip("-")
    digest = hashlib.sha256(root.rstrip("/").encode()).hexdigest()[:8]
    return files.state_folder() / "roots" / f"{name}-{digest}"


@dataclasses.dataclass(frozen=True)
class Layout:
    """Paths below a root.

    Attributes:
      root: an absolute local folder, or a prefix of a bucket.
      settings: where ML Metadata is.
    """

    root: str
    settings: MetadataSettings = dataclasses.field(default_factory=MetadataSettings)

    @classmethod
    def at(cls, root: str, settings: MetadataSettings | None = None) -> Layout:
        """Returns the layout below a folder, made absolute: TFX records absolute paths.

        Raises:
          UsageError: the root is on another file system than gs://, or in a bucket, where no
            SQLite file can be.
        """
        settings = settings or MetadataSettings()
        if "://" not in root:
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
        """What names the store of ML Metadata: a SQLite file, or a server's address."""
        return self.settings.address if self.settings.on_server else self.metadata_file

    @property
    def metadata_file(self) -> str:
        """The SQLite file of ML Metadata, where it is in one."""
        path = self.settings.path
        return str(pathlib.Path(path).resolve()) if path else f"{self.root}/metadata.sqlite"

    @property
    def local(self) -> pathlib.Path:
        """The folder on this machine for locks and logs."""
        return local_folder(self.root)

    @property
    def artifacts(self) -> str:
        """TFX's pipeline root."""
        return f"{self.root}/artifacts"

    @property
    def pushed(self) -> str:
        """Where blessed models go, one folder a version."""
        return f"{self.root}/pushed"

    def run_folder(self, run_id: str) -> str:
        """A run's own folder."""
        return f"{self.root}/runs/{run_id}"

    def metadata_config(self) -> Any:
        """Returns the connection that TFX wants; a server's password is in it."""
        if self.settings.on_server:
            return server_config(self.settings)
        from tfx.orchestration import metadata

        pathlib.Path(self.metadata_file).parent.mkdir(parents=True, exist_ok=True)
        return metadata.sqlite_metadata_connection_config(self.metadata_file)

    @staticmethod
    def beam_args(args: Sequence[str]) -> list[str]:
        """Returns Beam options for TFX.

        Where no option says what workers need, TFX builds a source package of itself for every
        node. The in-process runner starts no worker and takes no notice of an image's name.
        """
        if any("FnApiRunner" in arg for arg in args):
            return [*args, "--sdk_container_image=in-process"]
        return list(args)
