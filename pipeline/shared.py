"""What processes of one pipeline root share: locks, ML Metadata, and what a run has done so far."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable.mlmd import execution_lib

from audio.errors import UsageError
from pipeline.connections import POSTGRESQL, BusyError, server_lock
from pipeline.layout import PIPELINE_NAME, Layout
from pipeline.mlmd_postgresql import PostgresqlStore

# The type of the context by whose name a store says whose it is.
_OWNER = "nocturne_root"


@contextlib.contextmanager
def alone(path: pathlib.Path, busy: str = "") -> Iterator[None]:
    """Holds a file's lock while the block runs; the system frees it when the process dies.

    Args:
      path: the file; it is made, and stays.
      busy: what to say where another process holds the lock; where empty, it is waited for.

    Raises:
      BusyError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise BusyError(busy) from None
        yield
    finally:
        os.close(handle)


def root_lock(layout: Layout, name: str, busy: str = "") -> contextlib.AbstractContextManager[None]:
    """Returns a lock of a root, such as runs/ID/NODE; see alone for `busy`.

    With ML Metadata on a server it holds for all machines, else for this one.
    """
    if layout.settings.on_server:
        return server_lock(layout.settings, f"{layout.root}:{name}", busy)
    return alone(layout.local / f"{name}.lock", busy)


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

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        if self._layout.settings.on_server:
            return server_lock(self._layout.settings, "ML Metadata")
        return alone(pathlib.Path(f"{self._layout.metadata_file}.lock"))

    def __enter__(self) -> SharedMetadata:
        if not self._users:
            self._held.enter_context(self._alone())
        try:
            super().__enter__()
            if self._layout.settings.kind == POSTGRESQL:
                self._store = PostgresqlStore(self._connection_config)
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
