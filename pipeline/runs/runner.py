"""Runs TFX pipelines on this machine, node by node, and shows each node as a stage."""

from __future__ import annotations

import contextlib
import glob
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
    claim_store,
    find_executions,
    find_finished,
    has_output,
    root_lock,
)
from pipeline.root.paths import Layout
from pipeline.runs.summary import NodeRun, Outcome, read_nodes, write_summary
from storage import faults, files
from trainer.fit import train

_STATES = metadata_store_pb2.Execution.State


class NodeFailedError(NocturneError):
    """A node failed, and the cause is not an error of Nocturne with a message of its own."""


class StagedDagRunner(LocalDagRunner):
    """TFX's LocalDagRunner with a stage for every node and a given run id.

    Nodes that this run has finished already are kept. With `only`, a single node runs; other nodes
    of the same run may run in other processes at the same time.

    Attributes:
      nodes: The nodes that this runner ran.
    """

    def __init__(
        self, *, console: Console, layout: Layout, run_id: str, only: str | None = None
    ) -> None:
        super().__init__()
        # By default, Beam sizes Transform's batches by how long the last ones took, so that no two
        # graphs are the same (trainer/data/transform_graph.py).
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
          NocturneError: A node failed.
          UsageError: The pipeline has no node `only`.
          IncompleteError: A node that `only` depends on has not run.
          BusyError: Another process runs the same node of the same run.
        """
        del run_options
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        store = SharedMetadata(self._layout)
        with faults.named(self._layout.root):
            with store as handle:
                claim_store(handle, self._layout)
            for node in self._nodes_to_run(pipeline, store):
                name = node.node_info.id
                busy = f"{name} of {self._run_id} is running in another process"
                with root_lock(self._layout, f"runs/{self._run_id}/{name}", busy):
                    self._run_node(node, pipeline, deployment, store)

    def _nodes_to_run(self, pipeline: pipeline_pb2.Pipeline, store: SharedMetadata) -> list[Any]:
        """Returns the nodes to run, after a check that a single node can run."""
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
        executions = find_executions(handle, run_id=self._run_id, node=name)
        finished = (_STATES.COMPLETE, _STATES.CACHED)
        return any(execution.last_known_state in finished for execution in executions)

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
        started, execution = time.monotonic(), 0
        outcome: Outcome = "failed"
        try:
            with self._console.stage(name) as stage, _showing_progress(stage, self._layout):
                execution = self._finished_before(node, store)
                if execution:
                    outcome = "kept"
                else:
                    execution = _launch(name, component_launcher, self._layout.root)
                    outcome = _outcome(store, execution)
                stage.outcome = outcome
        except BaseException as error:
            self._error = type(error).__name__
            raise
        finally:
            seconds = round(time.monotonic() - started, 2)
            self.nodes.append(
                NodeRun(node=name, outcome=outcome, seconds=seconds, execution=execution)
            )

    def _finished_before(self, node: Any, store: SharedMetadata) -> int:
        """Returns the execution by which this run has finished a node before, or 0.

        The output folders of killed attempts are removed, because TFX would continue in them.
        """
        name = node.node_info.id
        with store as handle:
            done = find_finished(handle, run_id=self._run_id, node=name)
            killed = [] if done else find_executions(handle, run_id=self._run_id, node=name)
        for execution in killed:
            outputs_utils.remove_output_dirs(
                {
                    key: [artifact for artifact in artifacts if fileio.exists(artifact.uri)]
                    for key, artifacts in outputs_utils.generate_output_artifacts(
                        execution.id, node.outputs.outputs, f"{self._layout.artifacts}/{name}"
                    ).items()
                }
            )
        return int(done.id) if done else 0

    def write_summary(self) -> None:
        """Updates run.json, which also has the nodes that ran in other processes."""
        with root_lock(self._layout, f"runs/{self._run_id}/run"):
            nodes = [*read_nodes(self._layout, self._run_id), *self.nodes]
            newest = {node.node: node for node in nodes}
            write_summary(self._layout, self._run_id, newest.values(), self._error)


def _launch(name: str, component_launcher: launcher.Launcher, root: str) -> int:
    """Runs a node and returns the id of its execution."""
    try:
        with faults.named(root):
            info = component_launcher.launch()
    except Exception as error:
        cause = find_nocturne_error(error)
        if isinstance(cause, NocturneError | KeyboardInterrupt):
            raise cause from error
        raise NodeFailedError(f"{name} failed: {_first_line(cause)}") from error
    return int(info.execution_id or 0) if info else 0


def _outcome(store: SharedMetadata, execution_id: int) -> Outcome:
    with store as handle:
        executions = handle.store.get_executions_by_id([execution_id])
        events = handle.store.get_events_by_execution_ids([execution_id])
    if not executions or not has_output(events):
        return "skipped"
    return "cached" if executions[0].last_known_state == _STATES.CACHED else "ran"


@contextlib.contextmanager
def _showing_progress(stage: Stage, layout: Layout) -> Iterator[None]:
    """Shows the progress of a node: the Trainer reports it, and Beam jobs leave files."""
    rate = StepRate()

    def show_steps(done: int, total: int, loss: float) -> None:
        stage.update(done, total, f"loss {loss:.4f}  {rate.describe(done)}")

    pattern = f"{glob.escape(layout.artifacts)}/{stage.name}/*/*/{staging.FOLDER}"

    def count_files() -> None:
        if files.is_remote(pattern):
            return  # a request each second is not worth it
        for folder in sorted(glob.glob(pattern))[-1:]:
            done = sum(name.endswith(".json") for name in files.list_names(folder))
            listing = pathlib.Path(folder, "sources.jsonl")
            total = listing.read_bytes().count(b"\n") if listing.exists() else None
            stage.update(done, total, "files")

    train.listener = show_steps
    try:
        with PollingThread(count_files):
            yield
    finally:
        train.listener = None  # a later training must not write to this stage, which has ended


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"
