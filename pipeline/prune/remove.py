"""Removing from a root what no run, no blessed model and no published clip needs any more.

What goes is marked in ML Metadata first, while nobody else is at it: from then on no run takes it
from the cache. Then a folder disappears at once, by a new name or by its markers, and only then
its files: an interrupted removal leaves nothing that looks complete, and the next one ends it.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import time
from collections.abc import Iterable, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems
from ml_metadata.proto import metadata_store_pb2

from audio import contract
from audio.errors import BusyError, InputError, UnwritableError, UsageError
from pipeline.prune.plan import TRASH, Decision, Execution, Facts, Folder, plan, unit_of
from pipeline.root.metadata_store import SharedMetadata, root_lock
from pipeline.root.paths import Layout
from storage import files
from storage.outputs import open_output

_STATES = metadata_store_pb2.Artifact
_RUNNING = (metadata_store_pb2.Execution.NEW, metadata_store_pb2.Execution.RUNNING)
# Files by which a reader takes a folder for whole: in a bucket these go first.
_MARKERS = (
    contract.COMPLETED, contract.MANIFEST, "BLESSED", "saved_model.pb", "model_info.json",
    contract.DATASET_INFO,
)  # fmt: skip


def prune(
    layout: Layout,
    *,
    keep_days: float,
    keep_runs: int,
    delete: bool = False,
    clips: Sequence[str] = (),
    forget_removed: bool = False,
) -> list[Decision]:
    """Decides on every folder of a root and, where that is wanted, removes what may go.

    Args:
      layout: the root.
      keep_days: what is younger stays.
      keep_runs: so many of the newest runs of each pipeline stay.
      delete: whether to remove; otherwise nothing is changed.
      clips: folders below which there are clips that no pipeline knows of.
      forget_removed: whether clips that are gone from their output count as published.

    Raises:
      InputError: there is no ML Metadata of the root, or a manifest cannot be read.
      UsageError: a number is out of range.
      BusyError: another prune is at work.
      UnwritableError: something could not be removed.
    """
    if keep_days < 0 or keep_runs < 1:
        raise UsageError("wanted --keep-days of 0 or more and --keep-runs of 1 or more")
    if not layout.settings.on_server and not pathlib.Path(layout.metadata_file).exists():
        raise InputError(
            f"{layout.metadata_file} is not there, and without ML Metadata nothing says what may "
            f"go from {layout.root}. Give the root of a pipeline, and its --config."
        )

    def decide(store: Any) -> list[Decision]:
        facts = _facts(layout, store, clips, forget_removed)
        return plan(facts, now=time.time(), keep_days=keep_days, keep_runs=keep_runs)

    if not delete:
        with SharedMetadata(layout) as handle:
            return decide(handle.store)
    with root_lock(layout, "prune", f"{layout.root} is being pruned already. Wait."):
        with SharedMetadata(layout) as handle:
            decisions = decide(handle.store)
            going = [one.path for one in decisions if not one.keep]
            ours = _artifacts(layout, handle.store)
            marked = [one for one in ours if _relative(layout, one.uri) in set(going)]
            _set_state(handle.store, marked, _STATES.MARKED_FOR_DELETION)
        for path in going:
            _remove(layout, path)
        with SharedMetadata(layout) as handle:
            marked = [one for one in _artifacts(layout, handle.store) if _is_marked(one)]
            _set_state(handle.store, marked, _STATES.DELETED)
    return decisions


def _facts(layout: Layout, store: Any, clips: Sequence[str], forget_removed: bool) -> Facts:
    ours = _artifacts(layout, store)
    artifacts = {one.id: _relative(layout, one.uri) for one in ours}
    return Facts(
        folders=tuple(_folders(layout.root)),
        executions={one.id: one for one in _executions(layout, store)},
        artifacts=artifacts,
        marked=frozenset(one.id for one in ours if _is_marked(one)),
        blessed=_blessed(store),
        published=_published(layout, store, artifacts, clips, forget_removed),
    )


def _relative(layout: Layout, uri: str) -> str:
    return uri[len(layout.root) + 1 :].rstrip("/")


def _executions(layout: Layout, store: Any) -> Iterable[Execution]:
    for one in store.get_executions():
        contexts = store.get_contexts_by_execution(one.id)
        names = {context.type: context.name for context in contexts}
        run, node = names.get("pipeline_run", ""), names.get("node", "").rpartition(".")[2]
        events = store.get_events_by_execution_ids([one.id])
        yield Execution(
            id=one.id,
            node=node,
            run=run,
            changed=one.last_update_time_since_epoch / 1000,
            running=one.last_known_state in _RUNNING and _is_running(layout, run, node),
            artifacts=frozenset(event.artifact_id for event in events),
        )


def _is_running(layout: Layout, run: str, node: str) -> bool:
    """Whether a process holds a node's lock: one that was killed is RUNNING in the store too."""
    local = layout.local / "runs" / run / f"{node}.lock"
    if not layout.settings.on_server and not local.exists():
        return False
    try:
        with root_lock(layout, f"runs/{run}/{node}", "it is running"):
            return False
    except BusyError:
        return True


def _blessed(store: Any) -> frozenset[int]:
    """Returns blessed models, their blessings, and the evaluations beside these."""
    found = set()
    for one in store.get_artifacts_by_type("ModelBlessing"):
        if one.custom_properties["blessed"].int_value == 1:
            found |= {one.id, one.custom_properties["current_model_id"].int_value}
            judged = [event.execution_id for event in store.get_events_by_artifact_ids([one.id])
                      if event.type == event.OUTPUT]  # fmt: skip
            found |= {event.artifact_id for event in store.get_events_by_execution_ids(judged)
                      if event.type == event.OUTPUT}  # fmt: skip
    return frozenset(found)


def _published(
    layout: Layout,
    store: Any,
    artifacts: dict[int, str],
    clips: Sequence[str],
    forget_removed: bool,
) -> dict[int, str]:
    """Returns what clips were made from: by the pipelines' own manifests, and by others'."""
    found: dict[int, str] = {}
    for one in store.get_artifacts_by_type("nocturne.GeneratedClips"):
        output = one.properties["output"].string_value
        if one.state != _STATES.LIVE:
            continue
        if forget_removed and open_output(output).read(contract.COMPLETED) is None:
            continue
        manifest = _read_manifest(files.join(one.uri, contract.MANIFEST))
        reason = f"clips in {output} refer to it"
        named = _named_in(layout, manifest, artifacts)
        found |= dict.fromkeys([one.id, manifest["lineage"]["model_artifact"], *named], reason)
    for folder in clips:
        for path in _manifests(folder):
            named = _named_in(layout, _read_manifest(path), artifacts)
            found |= dict.fromkeys(named, f"clips in {path.rpartition('/')[0]} refer to it")
    return found


def _named_in(layout: Layout, manifest: dict[str, Any], artifacts: dict[int, str]) -> list[int]:
    """Returns the artifacts whose folders a manifest names: a model's, a dataset's."""
    model = manifest["model"]
    named = [_relative(layout, path) + "/" for path in (model["path"], model["dataset"]["path"])
             if path.startswith(f"{layout.root}/")]  # fmt: skip
    return [number for number, uri in artifacts.items()
            if any(path.startswith(f"{uri}/") for path in named)]  # fmt: skip


def _manifests(folder: str) -> list[str]:
    if files.is_remote(folder):
        found = files.match(files.join(folder, "**"))
    else:
        found = [str(path) for path in pathlib.Path(folder).rglob(contract.MANIFEST)]
    chosen = [path for path in found if path.endswith(f"/{contract.MANIFEST}")]
    if not chosen:
        raise InputError(f"--clips {folder}: there is no {contract.MANIFEST} below it.")
    return chosen


def _read_manifest(path: str) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = files.read_json(path)
        manifest["model"]["path"], manifest["model"]["dataset"]["path"], manifest["lineage"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a manifest that can be read ({type(error).__name__}), so what its clips "
            "refer to is unknown. Nothing was removed. Mend it, or remove the folder that it is in."
        ) from error
    return manifest


def _folders(root: str) -> list[Folder]:
    """Returns the folders that prune decides on, with their sizes."""
    sizes: dict[str, int] = {}
    changed: dict[str, float] = {}
    for path, size, written in _bucket_files(root) if files.is_remote(root) else _files(root):
        unit = unit_of(path)
        if unit:
            sizes[unit] = sizes.get(unit, 0) + size
            changed[unit] = max(changed.get(unit, 0.0), written)
    return [
        Folder(path=path, bytes=sizes[path], changed=changed[path], link=_is_link(root, path))
        for path in sorted(sizes)
    ]


def _bucket_files(root: str) -> Iterable[tuple[str, int, float]]:
    for one in FileSystems.match([files.join(root, "**")])[0].metadata_list:
        yield one.path[len(root) + 1 :], one.size_in_bytes, one.last_updated_in_seconds


def _files(root: str) -> Iterable[tuple[str, int, float]]:
    """Yields files and folders of a disk, an empty folder too; links are not followed."""
    for folder, folders, names in os.walk(root, followlinks=False):
        inner = os.path.relpath(folder, root)
        status = os.lstat(folder)
        yield f"{inner}/", 0, status.st_mtime
        links = [one for one in folders if pathlib.Path(folder, one).is_symlink()]
        for name in (*names, *links):
            status = os.lstat(f"{folder}/{name}")
            # The slash is for a link in a folder's place.
            yield f"{inner}/{name}/", status.st_size, status.st_mtime


def _is_link(root: str, path: str) -> bool:
    """Whether a folder, or one above it, is a link: what it leads to is not the root's."""
    if files.is_remote(root):
        return False
    return os.path.realpath(f"{root}/{path}") != f"{root}/{path}"


def _artifacts(layout: Layout, store: Any) -> list[Any]:
    """Returns the artifacts below the root."""
    return [one for one in store.get_artifacts() if one.uri.startswith(f"{layout.root}/")]


def _is_marked(artifact: Any) -> bool:
    return bool(artifact.state == _STATES.MARKED_FOR_DELETION)


def _set_state(store: Any, artifacts: Sequence[Any], state: Any) -> None:
    for one in artifacts:
        one.state = state
    if artifacts:
        store.put_artifacts(artifacts)


def _remove(layout: Layout, path: str) -> None:
    """Removes a folder: it is out of sight, or without its markers, before the first file goes."""
    try:
        if files.is_remote(layout.root):
            _remove_objects(f"{layout.root}/{path}")
            if path.startswith("runs/"):
                shutil.rmtree(layout.local / path, ignore_errors=True)
            return
        target = pathlib.Path(layout.root, path)
        if not path.startswith(f"{TRASH}/"):
            trash = pathlib.Path(layout.root, TRASH, path.replace("/", "~"))
            trash.parent.mkdir(exist_ok=True)
            target = target.rename(trash)
        shutil.rmtree(target)
    except OSError as error:
        raise UnwritableError(
            f"{layout.root}/{path} could not be removed whole: {error.strerror or error}. See to "
            "it, and run the same command again; it goes on there."
        ) from error


def _remove_objects(folder: str) -> None:
    found = files.match(files.join(folder, "**"))
    markers = [path for path in found if path.rpartition("/")[2] in _MARKERS]
    for group in (markers, [path for path in found if path not in markers]):
        if group:
            FileSystems.delete(group)
