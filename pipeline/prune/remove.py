"""Removes what no run, no blessed model and no published clip needs from a local pipeline root.

Artifacts are marked as deleted in ML Metadata first, so that no run takes them from the cache.
Then each folder is renamed before its files go, so that nothing half removed looks complete.
"""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import time
from typing import Any

from ml_metadata.proto import metadata_store_pb2

from audio import contract
from audio.errors import BusyError, InputError, UnwritableError, UsageError
from pipeline.prune.plan import TRASH, Execution, plan
from pipeline.root.history import CLIPS
from pipeline.root.metadata_store import SharedMetadata, root_lock
from pipeline.root.paths import Layout
from storage import files

_RUNNING = (metadata_store_pb2.Execution.NEW, metadata_store_pb2.Execution.RUNNING)
_PATTERNS = ("artifacts/*/*/*", "artifacts/*/.system/*/*", "runs/*", f"{TRASH}/*")


def prune(layout: Layout, *, keep_days: float, keep_runs: int, delete: bool) -> dict[str, int]:
    """Returns the size in bytes of each folder that may be removed, by path below the root.

    Args:
      layout: The pipeline root.
      keep_days: Everything newer than this many days is kept.
      keep_runs: Number of the newest runs of each pipeline that are kept.
      delete: Whether to remove the folders.

    Raises:
      UsageError: The root is in a bucket.
      InputError: ML Metadata is missing.
      BusyError: The root is being pruned already.
      UnwritableError: A folder could not be removed.
    """
    root = pathlib.Path(layout.root)
    if files.is_remote(layout.root):
        raise UsageError(
            f"--root {layout.root}: only a local root can be pruned. In a bucket, use lifecycle "
            "rules that delete old objects, for example below runs/."
        )
    if not layout.settings.on_server and not pathlib.Path(layout.metadata_file).exists():
        raise InputError(
            f"cannot tell what is safe to delete from {root} without its ML Metadata database, "
            f"{layout.metadata_file}. Give the root of a pipeline, and its --config."
        )
    busy = f"{root} is being pruned by another process"
    with root_lock(layout, "prune", busy) if delete else contextlib.nullcontext():
        with SharedMetadata(layout) as handle:
            artifacts = handle.store.get_artifacts()
            paths = {made.id: made.uri.removeprefix(f"{root}/") for made in artifacts}
            executions = _executions(layout, handle.store, paths)
            oldest = time.time() - keep_days * 86400
            folders = plan(_folders(root), executions, oldest=oldest, keep=keep_runs)
            sizes = {folder: _size(root / folder) for folder in folders}
            for artifact in artifacts:
                if delete and paths[artifact.id] in sizes:
                    artifact.state = artifact.DELETED
                    handle.store.put_artifacts([artifact])
        for folder in sizes if delete else ():
            _remove(root, folder)
    return sizes


def _folders(root: pathlib.Path) -> dict[str, float]:
    """Returns when each folder changed. Links, and what they lead to, are left out."""
    folders = [path for pattern in _PATTERNS for path in sorted(root.glob(pattern))]
    return {str(path.relative_to(root)): path.stat().st_mtime for path in folders
            if path.is_dir() and path.resolve() == path}  # fmt: skip


def _size(folder: pathlib.Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _executions(layout: Layout, store: Any, paths: dict[int, str]) -> dict[int, Execution]:
    needed = _blessed_and_published(store)
    executions = {}
    for execution in store.get_executions():
        contexts = store.get_contexts_by_execution(execution.id)
        names = {context.type: context.name for context in contexts}
        run, node = names.get("pipeline_run", ""), names.get("node", "").rpartition(".")[2]
        events = store.get_events_by_execution_ids([execution.id])
        executions[execution.id] = Execution(
            node=node, run=run,
            changed=execution.last_update_time_since_epoch / 1000,
            running=execution.last_known_state in _RUNNING and _is_locked(layout, run, node),
            needed=any(event.type == event.OUTPUT and event.artifact_id in needed
                       for event in events),
            folders=frozenset(paths[event.artifact_id] for event in events),
        )  # fmt: skip
    return executions


def _blessed_and_published(store: Any) -> set[int]:
    """Returns the artifacts of blessings, and of clips that are published."""
    return {
        *(one.id for one in store.get_artifacts_by_type("ModelBlessing")
          if one.custom_properties["blessed"].int_value),
        *(one.id for one in store.get_artifacts_by_type(CLIPS)
          if _is_published(one.properties["output"].string_value)),
    }  # fmt: skip


def _is_published(output: str) -> bool:
    """Returns whether clips are in their folder, or cannot be told to be gone.

    Where a disk is not mounted, the folder above is missing or empty.
    """
    if files.exists(files.join(output, contract.COMPLETED)):
        return True
    if files.is_remote(output):
        return False
    above = pathlib.Path(output).parent
    return not above.is_dir() or not any(above.iterdir())


def _is_locked(layout: Layout, run: str, node: str) -> bool:
    """Returns whether a process runs a node. For ML Metadata, a killed one is running, too."""
    if not layout.settings.on_server and not (layout.local / f"runs/{run}/{node}.lock").exists():
        return False
    try:
        with root_lock(layout, f"runs/{run}/{node}", "running"):
            return False
    except BusyError:
        return True


def _remove(root: pathlib.Path, path: str) -> None:
    folder = root / path
    try:
        if not path.startswith(TRASH):
            (root / TRASH).mkdir(exist_ok=True)
            folder = folder.rename(root / TRASH / path.replace("/", "~"))
        shutil.rmtree(folder)
    except OSError as error:
        raise UnwritableError(
            f"{root}/{path} was not removed: {error.strerror or error}. Correct that and run again."
        ) from error
