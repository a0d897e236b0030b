"""Where things are below a pipeline's root.

ROOT/metadata.sqlite      ML Metadata: what was made from what
ROOT/artifacts/NODE/...   TFX's artifacts, datasets and models among them
ROOT/pushed/VERSION/      blessed models
ROOT/runs/ID/             a run's effective configuration, its logs, its summary and its page
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import time
from collections.abc import Sequence
from typing import Any

from audio.errors import UsageError

# Training and generation share one name: ML Metadata then finds the models of the one for the
# other, and a clip's history is one graph.
PIPELINE_NAME = "nocturne"
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
    return pathlib.Path(root, "runs", run_id, f"log-{only}.txt" if only else "log.txt")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Paths below a root.

    Attributes:
      root: an absolute local folder.
    """

    root: str

    @classmethod
    def at(cls, root: str) -> Layout:
        """Returns the layout below a folder, made absolute: TFX records absolute paths."""
        return cls(str(pathlib.Path(root).resolve()))

    @property
    def metadata(self) -> str:
        """The SQLite file of ML Metadata."""
        return f"{self.root}/metadata.sqlite"

    @property
    def artifacts(self) -> str:
        """TFX's pipeline root."""
        return f"{self.root}/artifacts"

    @property
    def pushed(self) -> str:
        """Where blessed models go, one folder a version."""
        return f"{self.root}/pushed"

    def run_folder(self, run_id: str) -> pathlib.Path:
        """A run's own folder."""
        return pathlib.Path(self.root, "runs", run_id)

    def metadata_config(self) -> Any:
        """Returns the connection that TFX wants."""
        from tfx.orchestration import metadata

        pathlib.Path(self.root).mkdir(parents=True, exist_ok=True)
        return metadata.sqlite_metadata_connection_config(self.metadata)

    @staticmethod
    def beam_args(args: Sequence[str]) -> list[str]:
        """Returns Beam options for TFX.

        Where no option says what workers need, TFX builds a source package of itself for every
        node. The in-process runner starts no worker and takes no notice of an image's name.
        """
        if any("FnApiRunner" in arg for arg in args):
            return [*args, "--sdk_container_image=in-process"]
        return list(args)
