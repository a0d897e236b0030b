"""Running a TFX pipeline on this machine, node by node, with each node shown as a stage."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

from absl import flags
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.dsl.io import fileio
from tfx.orchestration.local import runner_utils
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import launcher, outputs_utils, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from audio.errors import IncompleteError, NocturneError, UsageError
from beam_transforms import staging
from pipeline.console.root_cause import find_nocturne_error
from pipeline.console.terminal import Console, PollingThread, Stage, StepRate
from pipeline.root.metadata_store import (
    SharedMetadata,
    claim,
    executions,
    finished,
    has_output,
    root_lock,
)
from pipeline.root.paths import RUN_SUMMARY, Layout
from pipeline.runs.counters import write_counters
from storage import files
from trainer.fit import train

_STATES = metadata_store_pb2.Execution.State


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeRun:
    """What became of one node.

    Attributes:
      node: its id.
      outcome: `ran`, `cached`, `kept` (this run has done it already), `skipped` (an input that it
        needs is not there, or a Resolver found nothing) or `failed`.
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
    """TFX's LocalDagRunner, with a stage for every node and a run id that the caller chooses.

    Nodes that are finished in a run of that id are kept. `only` names one node to run by itself;
    others of the same run may run in other processes meanwhile.
    """

    def __init__(
        self, *, console: Console, layout: Layout, run_id: str, only: str | None = None
    ) -> None:
        super().__init__()
        # Otherwise Beam sizes Transform's batches by how long the last ones took, and no graph is
        # the same twice (trainer/data/transform_graph.py).
        flags.FLAGS.set_default("tfxio_use_byte_size_batching", True)
        self._console, self._layout, self._run_id, self._only = console, layout, run_id, only
        self.nodes: list[NodeRun] = []
        self._error: str | None = None

    def run_with_ir(
        self,
        pipeline: pipeline_pb2.Pipeline,
        run_options: pipeline_pb2.RunOptions | None = None,
    ) -> None:
        """Runs the nodes of a compiled pipeline in order.

        Raises:
          NocturneError: a node failed; the message says which, and why.
          UsageError: there is no node of the name to run.
          IncompleteError: what that node depends on has not run.
          BusyError: another process runs the same node of the same run.
        """
        del run_options
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        store = SharedMetadata(self._layout)
        with store as handle:
            claim(handle, self._layout)
        for node in self._chosen(pipeline, store):
            name = node.node_info.id
            busy = f"{name} of {self._run_id} is running in another process. Wait."
            with root_lock(self._layout, f"runs/{self._run_id}/{name}", busy):
                self._run_node(node, pipeline, deployment, store)

    def _chosen(self, pipeline: pipeline_pb2.Pipeline, store: SharedMetadata) -> list[Any]:
        """Returns the nodes to run; a single one only if those before it have run."""
        nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in pipeline.nodes}
        if self._only is None:
            return list(nodes.values())
        if self._only not in nodes:
            raise UsageError(f"--only: wanted one of {', '.join(nodes)}, got {self._only!r}")
        node = nodes[self._only]
        with store as handle:
            missing = [name for name in node.upstream_nodes if not self._has_run(handle, name)]
        if missing:
            raise IncompleteError(
                f"{self._only} needs {', '.join(missing)}, which did not run to the end in "
                f"{self._run_id}. Run each with --only and the same --run-id first."
            )
        return [node]

    def _has_run(self, handle: SharedMetadata, name: str) -> bool:
        found = executions(handle, run_id=self._run_id, node=name)
        return any(one.last_known_state in (_STATES.COMPLETE, _STATES.CACHED) for one in found)

    def _run_node(
        self, node: Any, pipeline: pipeline_pb2.Pipeline, deployment: Any, store: SharedMetadata
    ) -> None:
        name = node.node_info.id
        component_launcher = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=store,
            pipeline_info=pipeline.pipeline_info,
            pipeline_runtime_spec=pipeline.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(deployment, name),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
        )
        started, execution, outcome = time.monotonic(), 0, "failed"
        try:
            with self._console.stage(name) as stage, _watched(stage, self._layout):
                execution = self._finished_before(node, store)
                if execution:
                    stage.outcome = "kept"
                else:
                    execution = _launch(name, component_launcher)
                    stage.outcome = _outcome(store, execution)
                outcome = stage.outcome
        except BaseException as error:
            self._error = type(error).__name__
            raise
        finally:
            seconds = round(time.monotonic() - started, 2)
            self.nodes.append(
                NodeRun(node=name, outcome=outcome, seconds=seconds, execution=execution)
            )

    def _finished_before(self, node: Any, store: SharedMetadata) -> int:
        """Returns the execution by which this run has done a node, or 0.

        What a killed attempt left half-written is removed: the launcher goes on in its folders.
        """
        name = node.node_info.id
        with store as handle:
            done = finished(handle, run_id=self._run_id, node=name)
            found = [] if done else executions(handle, run_id=self._run_id, node=name)
        for execution in found:
            outputs_utils.remove_output_dirs(
                {
                    key: [one for one in artifacts if fileio.exists(one.uri)]
                    for key, artifacts in outputs_utils.generate_output_artifacts(
                        execution.id, node.outputs.outputs, f"{self._layout.artifacts}/{name}"
                    ).items()
                }
            )
        return int(done.id) if done else 0

    def write_summary(self) -> None:
        """Writes run.json and counters.json: of nodes that ran in other processes, too."""
        path = f"{self._layout.run_folder(self._run_id)}/{RUN_SUMMARY}"
        with root_lock(self._layout, f"runs/{self._run_id}/run"):
            before = files.read_json(path)["nodes"] if files.exists(path) else []
            rows = {row["node"]: row for row in before}
            rows |= {node.node: dataclasses.asdict(node) for node in self.nodes}
            text = json.dumps({"run_id": self._run_id, "nodes": list(rows.values())}, indent=2)
            files.write_text(path, text + "\n")
            write_counters(self._layout, self._run_id, rows.values(), self._error)


def _launch(name: str, component_launcher: launcher.Launcher) -> int:
    """Runs a node; returns its execution's id."""
    try:
        info = component_launcher.launch()
    except Exception as error:
        cause = find_nocturne_error(error)
        if isinstance(cause, NocturneError | KeyboardInterrupt):
            raise cause from error
        raise NodeFailedError(f"{name} failed: {_first_line(cause)}") from error
    return int(info.execution_id or 0) if info else 0


def _outcome(store: SharedMetadata, execution_id: int) -> str:
    with store as handle:
        found = handle.store.get_executions_by_id([execution_id])
        events = handle.store.get_events_by_execution_ids([execution_id])
    if not found or not has_output(events):
        return "skipped"
    return "cached" if found[0].last_known_state == _STATES.CACHED else "ran"


@contextlib.contextmanager
def _watched(stage: Stage, layout: Layout) -> Iterator[None]:
    """Shows how far a node is: the Trainer says, Beam jobs leave files."""
    step_rate = StepRate()

    def steps(done: int, total: int, loss: float) -> None:
        stage.update(done, total, f"loss {loss:.4f}  {step_rate.describe(done)}")

    pattern = f"{layout.artifacts}/{stage.name}/*/*/{staging.FOLDER}"

    def look() -> None:
        if files.is_remote(pattern):
            return  # a listing a second would cost more than it says
        for folder in sorted(glob.glob(pattern))[-1:]:
            done = len(glob.glob(f"{folder}/*.json"))
            listing = pathlib.Path(folder, "sources.jsonl")
            total = listing.read_bytes().count(b"\n") if listing.exists() else None
            stage.update(done, total, "files")

    train.listener = steps
    try:
        with PollingThread(look):
            yield
    finally:
        train.listener = None  # the stage, and the console that it writes to, end here


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"
