"""What led to a run's results, step by step, as ML Metadata has it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from audio.errors import LineageError
from pipeline.config.sections import MetadataSettings
from pipeline.root.locks import server_config, server_lock
from pipeline.root.paths import PIPELINE_NAME

CLIPS = "nocturne.GeneratedClips"
# More steps are not told: each warm start goes back to a week before.
_MAX_STEPS = 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """An artifact.

    Attributes:
      number: its id in ML Metadata.
      kind: Examples, Model, ...
      uri: where it is.
    """

    number: int
    kind: str
    uri: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One finished execution of a node; one that came from the cache is the one that did the work.

    Attributes:
      number: the execution's id in ML Metadata.
      node: the node's name.
      run: the run it belongs to.
      started: seconds since 1970.
      seconds: how long it took.
      inputs: ids of the artifacts it read.
      outputs: what it made.
      found: ids of artifacts that it made out to others, as a Resolver does.
    """

    number: int
    node: str
    run: str
    started: float
    seconds: float
    inputs: tuple[int, ...]
    outputs: tuple[Artifact, ...]
    found: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class History:
    """Steps, the oldest first."""

    steps: tuple[Step, ...]

    def last_uri(self, kind: str) -> str | None:
        """Returns where the newest artifact of a kind is; None where none was made."""
        uris = [made.uri for step in self.steps for made in step.outputs if made.kind == kind]
        return uris[-1] if uris else None

    def edges(self) -> list[tuple[int, int]]:
        """Returns pairs of step numbers: one made what the other read."""
        makers = {made.number: step.number for step in self.steps for made in step.outputs}
        read = [(step, number) for step in self.steps for number in (*step.inputs, *step.found)]
        # What a Resolver found and hands on, ML Metadata knows by its maker alone.
        given = {(step.run, number): step.number for step in self.steps for number in step.found}
        pairs = set()
        for step, number in read:
            giver = given.get((step.run, number)) if number in step.inputs else None
            maker = giver or makers.get(number)
            if maker:
                pairs.add((maker, step.number))
        return sorted(pairs)


def open_metadata(named: str, settings: MetadataSettings | None = None) -> Any:
    """Opens ML Metadata for reading.

    A server's password goes to the configured server alone: a manifest may come from anywhere.

    Args:
      named: a SQLite file, or a server's address, as Layout.metadata has them.
      settings: of the server.

    Raises:
      LineageError: it is not there, or on another server.
    """
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    if "://" in named:
        if settings is None or not settings.on_server or settings.address != named:
            raise LineageError(
                f"ML Metadata is on {named}. Give the --config of the pipelines that wrote it, "
                "with that server in its section `metadata`."
            )
        with server_lock(settings, "trace"):  # says plainly where there is no server
            return metadata_store.MetadataStore(server_config(settings))
    if not pathlib.Path(named).exists():
        raise LineageError(
            f"{named}: there is no ML Metadata. Give the --root of a pipeline's run; if a root was "
            "moved, move it back."
        )
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = named
    config.sqlite.connection_mode = config.sqlite.READONLY
    return metadata_store.MetadataStore(config)


def history_of(store: Any, run_ids: Sequence[str]) -> History:
    """Returns what some runs did, and what that came from.

    Steps beside that way are told too (statistics, validation, pushing), where the runs on it made
    them from nothing else.

    Args:
      store: of open_metadata.
      run_ids: runs.
    """
    reader = _Reader(store)
    todo = [execution for run_id in run_ids for execution in reader.run(run_id)]
    steps: dict[int, Step] = {}
    while todo and len(steps) < _MAX_STEPS:
        for step in reader.workers(todo.pop(0)):
            if step.number not in steps:
                steps[step.number] = step
                todo += reader.makers((*step.inputs, *step.found))
    for run_id in sorted({step.run for step in steps.values()} - set(run_ids)):
        for execution in reader.run(run_id):
            for step in reader.workers(execution):
                if _beside(step, steps.values()):
                    steps[step.number] = step
    return History(steps=tuple(steps[number] for number in sorted(steps)))


def _beside(step: Step, steps: Iterable[Step]) -> bool:
    """Whether a step is of another node than those known, and read what they made alone."""
    known = list(steps)
    made = {one.number for each in known for one in each.outputs}
    return step.node not in {each.node for each in known} and made.issuperset(step.inputs)


def previous_clips(store: Any, clips_uri: str) -> list[str]:
    """Returns the folders with clips of earlier generation runs, newest first.

    Args:
      store: of open_metadata.
      clips_uri: the artifact of this run's clips.
    """
    newest_first = sorted(store.get_artifacts_by_type(CLIPS), key=lambda clips: -int(clips.id))
    current = next((clips for clips in newest_first if clips.uri == clips_uri), None)
    if current is None:
        return []
    outputs = [
        clips.properties["output"].string_value
        for clips in newest_first
        if int(clips.id) < int(current.id)
    ]
    return [
        output
        for output in dict.fromkeys(outputs)
        if output and output != current.properties["output"].string_value
    ]


class _Reader:
    """Executions out of ML Metadata, as steps."""

    def __init__(self, store: Any) -> None:
        from ml_metadata.proto import metadata_store_pb2

        self._store = store
        self._states = metadata_store_pb2.Execution.State
        self._events = metadata_store_pb2.Event
        self._kinds = {kind.id: kind.name for kind in store.get_artifact_types()}

    def run(self, run_id: str) -> list[Any]:
        """Returns the finished executions of a run."""
        context = self._store.get_context_by_type_and_name("pipeline_run", run_id)
        found = self._store.get_executions_by_context(context.id) if context else []
        done = (self._states.COMPLETE, self._states.CACHED)
        found = sorted(found, key=lambda one: int(one.id))
        return [one for one in found if one.last_known_state in done]

    def makers(self, artifacts: Iterable[int]) -> list[Any]:
        """Returns the executions that made artifacts."""
        events = self._store.get_events_by_artifact_ids(list(artifacts))
        made = [event.execution_id for event in events if event.type == event.OUTPUT]
        found = self._store.get_executions_by_id(made)
        return [one for one in found if one.last_known_state == self._states.COMPLETE]

    def workers(self, execution: Any) -> list[Step]:
        """Returns an execution as a step; of one from the cache, those that did the work."""
        if execution.last_known_state == self._states.COMPLETE:
            return [self._step(execution)]
        events = self._store.get_events_by_execution_ids([execution.id])
        outputs = [event.artifact_id for event in events if event.type == event.OUTPUT]
        return [self._step(one) for one in self.makers(outputs)]

    def _step(self, execution: Any) -> Step:
        events = self._store.get_events_by_execution_ids([execution.id])
        names: dict[str, str] = {}
        for context in self._store.get_contexts_by_execution(execution.id):
            names[context.type] = context.name
        numbers = {
            kind: tuple(sorted({event.artifact_id for event in events if event.type == kind}))
            for kind in {event.type for event in events}
        }
        outputs = self._store.get_artifacts_by_id(list(numbers.get(self._events.OUTPUT, ())))
        begun = int(execution.create_time_since_epoch)
        return Step(
            number=int(execution.id),
            node=names.get("node", execution.type).removeprefix(f"{PIPELINE_NAME}."),
            run=names.get("pipeline_run", ""),
            started=begun / 1000,
            seconds=(int(execution.last_update_time_since_epoch) - begun) / 1000,
            inputs=numbers.get(self._events.INPUT, ()),
            outputs=tuple(
                Artifact(number=int(one.id), kind=self._kinds[one.type_id], uri=str(one.uri))
                for one in sorted(outputs, key=lambda one: int(one.id))
            ),
            found=numbers.get(self._events.INTERNAL_OUTPUT, ()),
        )
