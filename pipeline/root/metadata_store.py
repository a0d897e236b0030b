"""ML Metadata and the locks of a pipeline root, and what a run has finished so far."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable.mlmd import execution_lib

from audio.errors import UsageError
from pipeline.root.locks import server_lock
from pipeline.root.paths import PIPELINE_NAME, Layout
from storage.locks import file_lock

# Type of the context whose name is the root that a store belongs to.
_OWNER = "nocturne_root"


def root_lock(layout: Layout, name: str, busy: str = "") -> contextlib.AbstractContextManager[None]:
    """Returns a lock of a root, such as runs/ID/NODE; see file_lock for `busy`.

    If ML Metadata is on a server, the lock holds for all machines, otherwise for this one.
    """
    if layout.settings.on_server:
        return server_lock(layout.settings, f"{layout.root}:{name}", busy)
    return file_lock(layout.local / f"{name}.lock", busy)


class SharedMetadata(metadata.Metadata):
    """ML Metadata that only one process enters at a time.

    If processes write at once, ML Metadata raises `Concurrent writes aborted` on SQLite, and `a
    subset of tables` or `already exists` on every kind of store while it is new. A node enters it
    for moments only, when it begins and when it ends.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout.metadata_config())
        self._layout = layout
        self._held = contextlib.ExitStack()

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        if self._layout.settings.on_server:
            return server_lock(self._layout.settings, "ML Metadata")
        return file_lock(pathlib.Path(f"{self._layout.metadata_file}.lock"))

    def __enter__(self) -> SharedMetadata:
        if not self._users:
            self._held.enter_context(self._lock())
        try:
            super().__enter__()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        super().__exit__(kind, error, trace)
        if not self._users:
            self._held.close()


def claim_store(handle: metadata.Metadata, layout: Layout) -> None:
    """Records which pipeline root owns this metadata store.

    Blessed models and cached results are not stored per root, so two roots must not share a store.
    A SQLite file in its usual place below the root needs no record.

    Raises:
      UsageError: The store belongs to another root.
    """
    if not layout.settings.on_server and layout.settings.path is None:
        return
    store = handle.store
    owners = [context.name for context in store.get_contexts_by_type(_OWNER)]
    if not owners:
        type_id = store.put_context_type(metadata_store_pb2.ContextType(name=_OWNER))
        store.put_contexts([metadata_store_pb2.Context(type_id=type_id, name=layout.root)])
    elif layout.root not in owners:
        raise UsageError(
            f"--root {layout.root}: the store at {layout.metadata} belongs to {owners[0]}. Give "
            "each root a store of its own: metadata.database on a server, metadata.path for a file."
        )


def find_executions(handle: metadata.Metadata, *, run_id: str, node: str) -> list[Any]:
    """Returns all executions of a node in a run, failed ones too, oldest first."""
    names = (("pipeline_run", run_id), ("node", f"{PIPELINE_NAME}.{node}"))
    contexts = [handle.store.get_context_by_type_and_name(*name) for name in names]
    if None in contexts:
        return []
    executions = execution_lib.get_executions_associated_with_all_contexts(handle, contexts)
    return sorted(executions, key=lambda execution: int(execution.id))


def execution_outputs(layout: Layout, execution: int) -> list[tuple[str, str, Any]]:
    """Returns type, folder and custom properties of an execution's outputs, cached ones too."""
    with SharedMetadata(layout) as handle:
        artifacts = _outputs(handle, execution)
        types = {kind.id: kind.name for kind in handle.store.get_artifact_types()}
    return [(types[made.type_id], str(made.uri), made.custom_properties) for made in artifacts]


def find_finished(handle: metadata.Metadata, *, run_id: str, node: str) -> Any | None:
    """Returns the execution that finished a node in a run, or None.

    A Resolver that found nothing succeeds without an output. It counts as unfinished, because what
    it looks for may exist the next time. If `nocturne prune` removed an output, the node counts as
    unfinished, too, and makes it again.
    """
    for execution in reversed(find_executions(handle, run_id=run_id, node=node)):
        events = handle.store.get_events_by_execution_ids([execution.id])
        complete = all(made.state == made.LIVE for made in _outputs(handle, execution.id))
        if execution_lib.is_execution_successful(execution) and has_output(events) and complete:
            return execution
    return None


def has_output(events: Iterable[Any]) -> bool:
    """Returns whether an execution's events contain an artifact that it made or passed on."""
    return any(event.type in (event.OUTPUT, event.INTERNAL_OUTPUT) for event in events)


def _outputs(handle: metadata.Metadata, execution: int) -> list[Any]:
    events = handle.store.get_events_by_execution_ids([execution])
    ids = [event.artifact_id for event in events if event.type == event.OUTPUT]
    return list(handle.store.get_artifacts_by_id(ids))
