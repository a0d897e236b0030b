"""What processes of one pipeline root share: locks, ML Metadata, and what a run has done so far."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

from tfx.orchestration import metadata
from tfx.orchestration.portable.mlmd import execution_lib

from audio.errors import NocturneError
from pipeline.layout import PIPELINE_NAME, Layout


class BusyError(NocturneError):
    """Another process is at the same work."""


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


class SharedMetadata(metadata.Metadata):
    """ML Metadata on SQLite, entered by one process at a time.

    Eight processes that write at once get `Concurrent writes aborted` and `a subset of tables`
    from ML Metadata itself. A node enters it for moments, at its beginning and its end.
    """

    def __init__(self, connection: Any, layout: Layout) -> None:
        super().__init__(connection)
        self._lock = pathlib.Path(f"{layout.metadata}.lock")
        self._held = contextlib.ExitStack()

    def __enter__(self) -> SharedMetadata:
        if not self._users:
            self._held.enter_context(alone(self._lock))
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


def executions(handle: metadata.Metadata, *, run_id: str, node: str) -> list[Any]:
    """Returns a node's executions in one run, whatever became of them, the newest last."""
    wanted = (("pipeline_run", run_id), ("node", f"{PIPELINE_NAME}.{node}"))
    contexts = [handle.store.get_context_by_type_and_name(*each) for each in wanted]
    if None in contexts:
        return []
    found = execution_lib.get_executions_associated_with_all_contexts(handle, contexts)
    return sorted(found, key=lambda execution: int(execution.id))


def finished(handle: metadata.Metadata, *, run_id: str, node: str) -> Any | None:
    """Returns the execution by which a node is finished in one run; None where it is not.

    A Resolver that found nothing succeeds without an output, and is not finished: what it waits
    for may be there the next time.
    """
    for execution in reversed(executions(handle, run_id=run_id, node=node)):
        events = handle.store.get_events_by_execution_ids([execution.id])
        if execution_lib.is_execution_successful(execution) and has_output(events):
            return execution
    return None


def has_output(events: Iterable[Any]) -> bool:
    """Says whether an execution's events name something that it made or found."""
    return any(event.type in (event.OUTPUT, event.INTERNAL_OUTPUT) for event in events)
