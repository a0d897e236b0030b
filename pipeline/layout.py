"""Where things are below a pipeline's root.

ROOT/metadata.sqlite      ML Metadata: what was made from what
ROOT/artifacts/NODE/...   TFX's artifacts, datasets and models among them
ROOT/pushed/VERSION/      blessed models
ROOT/runs/ID/             a run's effective configuration, its log and its summary
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

# Training and generation share one name: ML Metadata then finds the models of the one for the
# other, and a clip's history is one graph.
PIPELINE_NAME = "nocturne"


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
