"""What processes of one pipeline root share: locks, ML Metadata, and what a run has done so far."""

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
from pipeline.root.locks import file_lock, server_lock
from pipeline.root.paths import PIPELINE_NAME, Layout

# The type of the context by whose name a store says whose it is.
_OWNER = "nocturne_root"


def root_lock(layout: Layout, name: str, busy: str = "") -> contextlib.AbstractContextManager[None]:
    """Returns a lock of a root, such as runs/ID/NODE; see file_lock for `busy`.

    With ML Metadata on a server it holds for all machines, else for this one.
    """
    if layout.settings.on_server:
        return server_lock(layout.settings, f"{layout.root}:{name}", busy)
    return file_lock(layout.local / f"{name}.lock", busy)


class SharedMetadata(metadata.Metadata):
    """ML Metadata, entered by one process at a time.

    Processes that write at once get `Concurrent writes aborted` from it on SQLite, and
    `a subset of tables` and `already exists` on every kind of store while it is new. A node
    enters it for moments, at its beginning and its end.
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


def claim(handle: metadata.Metadata, layout: Layout) -> None:
    """Makes the store a root's own: what is blessed or cached in it is looked up by no root's name.

    A SQLite file in its usual place below the root needs no claim.

    Raises:
      UsageError: it is another root's.
    """
    if not layout.settings.on_server and layout.settings.path is None:
        return
    store = handle.store
    owners = [one.name for one in store.get_contexts_by_type(_OWNER)]
    if not owners:
        kind = store.put_context_type(metadata_store_pb2.ContextType(name=_OWNER))
        store.put_contexts([metadata_store_pb2.Context(type_id=kind, name=layout.root)])
    elif layout.root not in owners:
        raise UsageError(
            f"--root {layout.root}: the store at {layout.metadata} belongs to {owners[0]}. Give "
            "each root a store of its own: metadata.database on a server, metadata.path for a file."
        )


def executions(handle: metadata.Metadata, *, run_id: str, node: str) -> list[Any]:
    """Returns a node's executions in one run, whatever became of them, the newest last."""
    wanted = (("pipeline_run", run_id), ("node", f"{PIPELINE_NAME}.{node}"))
    contexts = [handle.store.get_context_by_type_and_name(*each) for each in wanted]
    if None in contexts:
        return []
    found = execution_lib.get_executions_associated_with_all_contexts(handle, contexts)
    return sorted(found, key=lambda execution: int(execution.id))


def outputs(layout: Layout, execution: int) -> list[tuple[str, str, Any]]:
    """Returns what an execution made or found in the cache: type, folder, custom properties."""
    with SharedMetadata(layout) as handle:
        events = handle.store.get_events_by_execution_ids([execution])
        made = [event.artifact_id for event in events if event.type == event.OUTPUT]
        artifacts = handle.store.get_artifacts_by_id(made)
        types = {one.id: one.name for one in handle.store.get_artifact_types()}
    return [(types[one.type_id], str(one.uri), one.custom_properties) for one in artifacts]


def finished(handle: metadata.Metadata, *, run_id: str, node: str) -> Any | None:
    """Returns the execution by which a node is finished in one run; None where it is not.

    A Resolver that found nothing succeeds without an output, and is not finished: what it waits
    for may be there the next time. What `nocturne prune` removed is made again.
    """
    for execution in reversed(executions(handle, run_id=run_id, node=node)):
        events = handle.store.get_events_by_execution_ids([execution.id])
        made = [event.artifact_id for event in events if event.type == event.OUTPUT]
        whole = all(
            artifact.state == artifact.LIVE for artifact in handle.store.get_artifacts_by_id(made)
        )
        if execution_lib.is_execution_successful(execution) and has_output(events) and whole:
            return execution
    return None


def has_output(events: Iterable[Any]) -> bool:
    """Says whether an execution's events name something that it made or found."""
    return any(event.type in (event.OUTPUT, event.INTERNAL_OUTPUT) for event in events)
