"""Decides which folders of a pipeline root may be removed: a pure function of some facts."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

# Folder for what an interrupted prune had begun to remove.
TRASH = ".pruned"
# A folder with results of an execution, whose number is its name.
_OUTPUT = re.compile(r"artifacts/([^/]+)/(?:\.system/)?[^/]+/(\d+)")
# What unfinished runs leave: decoded recordings, checkpoints of a training, trials of a search.
_UNFINISHED = re.compile(r"artifacts/(AudioExampleGen/staging|Trainer/training|Tuner/state)/[^/]+")


class Execution(NamedTuple):
    """An execution of a node."""

    node: str
    run: str
    changed: float  # seconds since 1970
    running: bool  # whether a process is running it now
    needed: bool  # whether its result is a blessed model or published clips
    folders: frozenset[str]  # of the artifacts that it read, made or took from the cache


def plan(
    folders: Mapping[str, float], executions: Mapping[int, Execution], *, oldest: float, keep: int
) -> list[str]:
    """Returns the folders that may be removed. All paths are relative to the root.

    Args:
      folders: Time of the last change of each folder.
      executions: Executions by number.
      oldest: Everything that changed after this time stays.
      keep: Number of the newest runs of each pipeline that stay.
    """
    runs = _runs_to_keep(list(executions.values()), oldest, keep)
    kept = {path for one in executions.values() if one.run in runs for path in one.folders}
    busy = any(execution.running for execution in executions.values())

    def may_be_removed(path: str, changed: float) -> bool:
        if path.startswith("runs/"):
            return changed < oldest and path.removeprefix("runs/") not in runs
        if _UNFINISHED.fullmatch(path):
            return changed < oldest and not busy
        match = _OUTPUT.fullmatch(path)
        execution = executions.get(int(match[2])) if match else None
        if match is None or execution is None or execution.node != match[1]:
            # If ML Metadata does not know a folder of artifacts, another store may know it.
            return path.startswith(TRASH)
        return execution.run not in runs and path not in kept

    return [path for path, changed in folders.items() if may_be_removed(path, changed)]


def _runs_to_keep(executions: Collection[Execution], oldest: float, keep: int) -> set[str]:
    changed: dict[str, float] = {}
    nodes: dict[str, set[str]] = {}
    for execution in executions:
        changed[execution.run] = max(changed.get(execution.run, 0.0), execution.changed)
        nodes.setdefault(execution.run, set()).add(execution.node)
    newest = sorted(changed, key=lambda run: (changed[run], run), reverse=True)
    generation = [run for run in newest if nodes[run] <= {"LatestBlessedModel", "BatchGenerator"}]
    training = [run for run in newest if run not in generation]
    kept = {execution.run for execution in executions if execution.running or execution.needed}
    kept.update(run for run in newest if changed[run] >= oldest)
    return kept.union(generation[:keep], training[:keep])
