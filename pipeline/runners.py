"""Running a TFX pipeline on this machine, node by node, with each node shown as a stage."""

from __future__ import annotations

import dataclasses
import glob
import json
import pathlib
import time
from typing import Any

from absl import flags
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from audio.errors import NocturneError
from beam_transforms import staging
from pipeline.console import Console, Pace, Stage, Watcher
from pipeline.failures import underlying
from pipeline.layout import Layout
from trainer import fit

_STATES = metadata_store_pb2.Execution.State


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeRun:
    """What became of one node.

    Attributes:
      node: its id.
      outcome: `ran`, `cached` or `skipped` (an input that it needs is not there).
      seconds: how long it took.
      execution: its execution's id in ML Metadata.
    """

    node: str
    outcome: str
    seconds: float
    execution: int


class NodeFailedError(NocturneError):
    """A node failed for a reason that is not the user's input."""


class StagedDagRunner(LocalDagRunner):
    """TFX's LocalDagRunner, with a stage for every node and a run id that the caller chooses."""

    def __init__(self, *, console: Console, layout: Layout, run_id: str) -> None:
        super().__init__()
        # Otherwise Beam sizes Transform's batches by how long the last ones took, and no graph is
        # the same twice (trainer/preprocessing.py).
        flags.FLAGS.set_default("tfxio_use_byte_size_batching", True)
        self._console, self._layout, self._run_id = console, layout, run_id
        self.nodes: list[NodeRun] = []

    def run_with_ir(
        self,
        pipeline: pipeline_pb2.Pipeline,
        run_options: pipeline_pb2.RunOptions | None = None,
    ) -> None:
        """Runs the nodes of a compiled pipeline in order.

        Raises:
          NocturneError: a node failed; the message says which, and why.
        """
        del run_options
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        which = deployment.metadata_connection_config.WhichOneof("connection_config")
        connection = getattr(deployment.metadata_connection_config, which)
        for node in pipeline.nodes:
            self._run_node(node.pipeline_node, pipeline, deployment, connection)

    def _run_node(
        self, node: Any, pipeline: pipeline_pb2.Pipeline, deployment: Any, connection: Any
    ) -> None:
        name = node.node_info.id
        component_launcher = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=metadata.Metadata(connection),
            pipeline_info=pipeline.pipeline_info,
            pipeline_runtime_spec=pipeline.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(deployment, name),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
        )
        started = time.monotonic()
        with self._console.stage(name) as stage, _watched(stage, self._layout):
            try:
                info = component_launcher.launch()
            except Exception as error:
                cause = underlying(error)
                if isinstance(cause, NocturneError | KeyboardInterrupt):
                    raise cause from error
                raise NodeFailedError(f"{name} failed: {_first_line(cause)}") from error
            execution = info.execution_id if info else 0
            stage.outcome = _outcome(connection, execution)
        seconds = round(time.monotonic() - started, 2)
        self.nodes.append(
            NodeRun(node=name, outcome=stage.outcome, seconds=seconds, execution=execution)
        )

    def write_summary(self, folder: pathlib.Path) -> None:
        """Writes run.json: the run's id and its nodes."""
        folder.mkdir(parents=True, exist_ok=True)
        rows = [dataclasses.asdict(node) for node in self.nodes]
        text = json.dumps({"run_id": self._run_id, "nodes": rows}, indent=2)
        (folder / "run.json").write_text(text + "\n")


def _outcome(connection: Any, execution_id: int) -> str:
    with metadata.Metadata(connection) as handle:
        found = handle.store.get_executions_by_id([execution_id])
    state = found[0].last_known_state if found else _STATES.UNKNOWN
    if state == _STATES.CACHED:
        return "cached"
    return "ran" if state == _STATES.COMPLETE else "skipped"


def _watched(stage: Stage, layout: Layout) -> Watcher:
    """Shows how far a node is: the Trainer says, Beam jobs leave files."""
    pace = Pace()

    def steps(done: int, total: int, loss: float) -> None:
        stage.update(done, total, f"loss {loss:.4f}  {pace.said(done)}")

    fit.listener = steps
    pattern = f"{layout.artifacts}/{stage.name}/*/*/{staging.FOLDER}"

    def look() -> None:
        for folder in sorted(glob.glob(pattern))[-1:]:
            done = len(glob.glob(f"{folder}/*.json"))
            listing = pathlib.Path(folder, "sources.jsonl")
            total = listing.read_bytes().count(b"\n") if listing.exists() else None
            stage.update(done, total, "files")

    return Watcher(look)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"
