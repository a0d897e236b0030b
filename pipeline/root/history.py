"""The steps that led to the results of a run or to an artifact, read from ML Metadata."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from audio.errors import LineageError
from pipeline.config.sections import MetadataSettings
from pipeline.root.locks import server_config, server_lock
from pipeline.root.paths import PIPELINE_NAME

# Type name of the artifacts of BatchGenerator.
CLIPS = "nocturne.GeneratedClips"
# Largest number of steps in the history of a run. With warm starts, each week leads to one before.
_MAX_STEPS = 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """An artifact.

    Attributes:
      number: Id in ML Metadata.
      kind: Name of its type, such as Examples or Model.
      uri: Folder of its files.
    """

    number: int
    kind: str
    uri: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One finished execution of a node.

    If a run took a node's result from the cache, the step is the execution that computed it.

    Attributes:
      number: Id of the execution in ML Metadata.
      node: Name of the node.
      run: Id of the run that it belongs to.
      started: Seconds since 1970.
      seconds: Duration.
      inputs: Ids of the artifacts that it read.
      outputs: Artifacts that it made.
      passed_on: Ids of existing artifacts that it passed on, such as a Resolver's result.
    """

    number: int
    node: str
    run: str
    started: float
    seconds: float
    inputs: tuple[int, ...]
    outputs: tuple[Artifact, ...]
    passed_on: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class History:
    """Steps, oldest first."""

    steps: tuple[Step, ...]

    def last_uri(self, kind: str) -> str | None:
        """Returns the folder of the newest artifact of a type, or None if there is none."""
        uris = [
            artifact.uri
            for step in self.steps
            for artifact in step.outputs
            if artifact.kind == kind
        ]
        return uris[-1] if uris else None

    def edges(self) -> list[tuple[int, int]]:
        """Returns pairs of step numbers: the second step read what the first one made."""
        makers = {made.number: step.number for step in self.steps for made in step.outputs}
        # For ML Metadata, only the maker of an artifact made it. In the picture of a run, an
        # artifact that a Resolver passed on comes from the Resolver.
        resolvers = {
            (step.run, number): step.number for step in self.steps for number in step.passed_on
        }
        pairs = set()
        for step in self.steps:
            for number in (*step.inputs, *step.passed_on):
                resolver = resolvers.get((step.run, number)) if number in step.inputs else None
                source = resolver or makers.get(number)
                if source:
                    pairs.add((source, step.number))
        return sorted(pairs)


def open_metadata(address: str, settings: MetadataSettings | None = None) -> Any:
    """Opens ML Metadata for reading.

    The password is sent to the configured server only, because an address in a manifest may come
    from anywhere.

    Args:
      address: A SQLite file or a server's address, as Layout.metadata returns it.
      settings: The configured server.

    Raises:
      LineageError: The file does not exist, or the address is not the configured server's.
    """
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    if "://" in address:
        if settings is None or not settings.on_server or settings.address != address:
            raise LineageError(
                f"ML Metadata is on {address}. Give the --config of the pipelines that wrote it, "
                "with that server in its section `metadata`."
            )
        with server_lock(settings, "trace"):  # has a clear error if the server is away
            return metadata_store.MetadataStore(server_config(settings))
    if not pathlib.Path(address).exists():
        raise LineageError(
            f"{address}: ML Metadata's file does not exist. Give the --root of a run; if a root "
            "was moved, move it back."
        )
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = address
    config.sqlite.connection_mode = config.sqlite.READONLY
    return metadata_store.MetadataStore(config)


def history_of_runs(store: Any, run_ids: Sequence[str]) -> History:
    """Returns what some runs did, and the steps that their inputs came from.

    Steps that led to none of the results (statistics, validation, pushing) are part of it if they
    read nothing but what the other steps made. The number of steps is limited.

    Args:
      store: Result of open_metadata.
      run_ids: Ids of the runs.
    """
    reader = _Reader(store)
    executions = [execution for run_id in run_ids for execution in reader.run(run_id)]
    steps = _walk_back(reader, executions, _MAX_STEPS)
    for run_id in sorted({step.run for step in steps.values()} - set(run_ids)):
        for execution in reader.run(run_id):
            for step in reader.steps(execution):
                made = {artifact.number for known in steps.values() for artifact in known.outputs}
                nodes = {known.node for known in steps.values()}
                if step.node not in nodes and made.issuperset(step.inputs):
                    steps[step.number] = step
    return History(steps=tuple(steps[number] for number in sorted(steps)))


def history_of_artifact(store: Any, number: int) -> History:
    """Returns all steps that led to an artifact.

    Args:
      store: Result of open_metadata.
      number: Id of the artifact.
    """
    reader = _Reader(store)
    steps = _walk_back(reader, reader.makers([number]))
    return History(steps=tuple(steps[number] for number in sorted(steps)))


def previous_clips(store: Any, clips_uri: str) -> list[str]:
    """Returns the output folders of earlier generation runs, newest first.

    Args:
      store: Result of open_metadata.
      clips_uri: Folder of this run's GeneratedClips artifact.
    """
    runs = sorted(store.get_artifacts_by_type(CLIPS), key=lambda run: -int(run.id))
    this = next((run for run in runs if run.uri == clips_uri), None)
    if this is None:
        return []
    outputs = [run.properties["output"].string_value for run in runs if int(run.id) < int(this.id)]
    return [
        output
        for output in dict.fromkeys(outputs)
        if output and output != this.properties["output"].string_value
    ]


def _walk_back(
    reader: _Reader, executions: Iterable[Any], max_steps: int | None = None
) -> dict[int, Step]:
    """Returns steps by number: those of executions, those that made their inputs, and so on."""
    todo = list(executions)
    steps: dict[int, Step] = {}
    while todo and (max_steps is None or len(steps) < max_steps):
        for step in reader.steps(todo.pop(0)):
            if step.number not in steps:
                steps[step.number] = step
                todo += reader.makers((*step.inputs, *step.passed_on))
    return steps


class _Reader:
    """Reads executions from ML Metadata as steps."""

    def __init__(self, store: Any) -> None:
        from ml_metadata.proto import metadata_store_pb2

        self._store = store
        self._states = metadata_store_pb2.Execution.State
        self._events = metadata_store_pb2.Event
        self._kinds = {kind.id: kind.name for kind in store.get_artifact_types()}

    def run(self, run_id: str) -> list[Any]:
        """Returns the finished executions of a run, oldest first."""
        context = self._store.get_context_by_type_and_name("pipeline_run", run_id)
        executions = self._store.get_executions_by_context(context.id) if context else []
        finished = (self._states.COMPLETE, self._states.CACHED)
        return sorted(
            (execution for execution in executions if execution.last_known_state in finished),
            key=lambda execution: int(execution.id),
        )

    def makers(self, artifacts: Iterable[int]) -> list[Any]:
        """Returns the executions that made artifacts."""
        events = self._store.get_events_by_artifact_ids(list(artifacts))
        ids = [event.execution_id for event in events if event.type == event.OUTPUT]
        return [
            execution
            for execution in self._store.get_executions_by_id(ids)
            if execution.last_known_state == self._states.COMPLETE
        ]

    def steps(self, execution: Any) -> list[Step]:
        """Returns an execution as a step; if it is from the cache, the executions it repeats."""
        if execution.last_known_state == self._states.COMPLETE:
            return [self._step(execution)]
        events = self._store.get_events_by_execution_ids([execution.id])
        outputs = [event.artifact_id for event in events if event.type == event.OUTPUT]
        return [self._step(maker) for maker in self.makers(outputs)]

    def _step(self, execution: Any) -> Step:
        events = self._store.get_events_by_execution_ids([execution.id])
        contexts = self._store.get_contexts_by_execution(execution.id)
        names: dict[str, str] = {context.type: context.name for context in contexts}

        def ids(kind: int) -> list[int]:
            return sorted({event.artifact_id for event in events if event.type == kind})

        outputs = self._store.get_artifacts_by_id(ids(self._events.OUTPUT))
        created = int(execution.create_time_since_epoch)
        return Step(
            number=int(execution.id),
            node=names.get("node", execution.type).removeprefix(f"{PIPELINE_NAME}."),
            run=names.get("pipeline_run", ""),
            started=created / 1000,
            seconds=(int(execution.last_update_time_since_epoch) - created) / 1000,
            inputs=tuple(ids(self._events.INPUT)),
            outputs=tuple(
                Artifact(number=int(made.id), kind=self._kinds[made.type_id], uri=str(made.uri))
                for made in sorted(outputs, key=lambda made: int(made.id))
            ),
            passed_on=tuple(ids(self._events.INTERNAL_OUTPUT)),
        )
