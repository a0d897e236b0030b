"""What of a root may go, and why the rest stays: a pure function over what was found there.

What goes are whole folders: an execution's output, a run's folder, work that was left behind. A
folder that nothing here accounts for stays.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

GENERATION, TRAINING = "generation", "training"
# Where an interrupted removal leaves what it has taken out of sight.
TRASH = ".pruned"

_OUTPUT = re.compile(r"artifacts/(?P<node>[^/]+)/(?P<key>[^/.][^/]*)/(?P<execution>\d+)")
_SYSTEM = re.compile(r"artifacts/(?P<node>[^/]+)/\.system/(?P<key>[^/]+)/(?P<execution>\d+)")
# Outlives an attempt: what was decoded, the state of a training, the trials of a search.
_WORK = re.compile(r"artifacts/(AudioExampleGen/staging|Trainer/training|Tuner/state)/[^/]+")
_RUN = re.compile(r"runs/(?P<run>[^/]+)")
_PUSHED = re.compile(r"pushed/[^/]+")
_TRASH = re.compile(re.escape(TRASH) + r"/[^/]+")
_UNITS = (_OUTPUT, _SYSTEM, _WORK, _RUN, _PUSHED, _TRASH)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder below the root.

    Attributes:
      path: relative to the root.
      bytes: of all files in it.
      changed: when its newest file was written, seconds since the epoch.
      link: whether it, or a folder above it, is a symbolic link.
    """

    path: str
    bytes: int
    changed: float
    link: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """An execution of a node, as ML Metadata has it.

    Attributes:
      id: its number, which names the folders of its outputs.
      node: what it ran.
      run: the run that it belongs to.
      changed: when it was last heard of, seconds since the epoch.
      running: whether a process is at it now.
      artifacts: the numbers of what it read, made, or found in the cache.
    """

    id: int
    node: str
    run: str
    changed: float
    running: bool
    artifacts: frozenset[int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """All that a plan is made from.

    Attributes:
      folders: of the root.
      executions: by number.
      artifacts: by number, the folder of each, relative to the root.
      marked: numbers of those whose removal has begun.
      blessed: numbers of blessed models, and of the verdicts on them.
      published: numbers of artifacts that clips were made from, the clips' own manifests among
        them, each with a word on the clips.
    """

    folders: tuple[Folder, ...]
    executions: Mapping[int, Execution]
    artifacts: Mapping[int, str]
    marked: frozenset[int]
    blessed: frozenset[int]
    published: Mapping[int, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of a folder, and why."""

    path: str
    bytes: int
    keep: bool
    reason: str


def unit_of(path: str) -> str | None:
    """Returns the folder that a file goes or stays with; None where prune leaves it alone."""
    for pattern in _UNITS:
        found = pattern.match(path)
        if found and path[found.end() : found.end() + 1] == "/":
            return found.group()
    return None


def plan(facts: Facts, *, now: float, keep_days: float, keep_runs: int) -> list[Decision]:
    """Decides on every folder.

    Args:
      facts: what was found.
      now: seconds since the epoch.
      keep_days: what is younger stays.
      keep_runs: so many of the newest runs of each pipeline stay, whatever their age.
    """
    runs = _runs_kept(facts, now - keep_days * 86400, keep_runs)
    artifacts = _artifacts_kept(facts, runs)
    busy = any(one.running for one in facts.executions.values())
    young = now - keep_days * 86400
    return [_decide(one, facts, runs, artifacts, young, busy) for one in facts.folders]


def _runs_kept(facts: Facts, young: float, keep_runs: int) -> dict[str, str]:
    """Returns the runs that stay, each with its reason."""
    by_run: dict[str, list[Execution]] = {}
    for execution in facts.executions.values():
        by_run.setdefault(execution.run, []).append(execution)
    changed = {run: max(one.changed for one in each) for run, each in by_run.items()}
    newest = sorted(by_run, key=lambda run: (changed[run], run), reverse=True)
    kinds: dict[str, list[str]] = {TRAINING: [], GENERATION: []}
    for run in newest:
        nodes = {one.node for one in by_run[run]}
        kinds[GENERATION if nodes <= {"BatchGenerator", "LatestBlessedModel"} else TRAINING].append(
            run
        )
    kept: dict[str, str] = {}
    for kind, names in kinds.items():
        kept |= dict.fromkeys(names[:keep_runs], f"of one of the last {keep_runs} {kind} runs")
    kept |= {run: f"of run {run}, which is young" for run in newest if changed[run] >= young}
    running = {one.run for one in facts.executions.values() if one.running}
    return kept | {run: f"run {run} is under way" for run in running}


def _artifacts_kept(facts: Facts, runs: Mapping[str, str]) -> dict[int, str]:
    """Returns the artifacts that stay, each with the weightiest reason."""
    kept: dict[int, str] = {}
    for execution in facts.executions.values():
        if execution.run in runs:
            kept |= dict.fromkeys(execution.artifacts, runs[execution.run])
    kept |= dict.fromkeys(facts.blessed, "a blessed model, or the verdict on one")
    return kept | dict(facts.published)


def _decide(
    folder: Folder,
    facts: Facts,
    runs: Mapping[str, str],
    artifacts: Mapping[int, str],
    young: float,
    busy: bool,
) -> Decision:
    def decided(keep: bool, reason: str) -> Decision:
        return Decision(path=folder.path, bytes=folder.bytes, keep=keep, reason=reason)

    if folder.link:
        return decided(True, "a link, which is not followed")
    if _TRASH.fullmatch(folder.path):
        return decided(False, "left by a removal that was interrupted")
    if _PUSHED.fullmatch(folder.path):
        return decided(True, "a blessed model")
    if _WORK.fullmatch(folder.path):
        if busy:
            return decided(True, "a run is under way, and may use it")
        old = folder.changed < young
        return decided(not old, "work of an unfinished run" + (", and old" if old else ""))
    if found := _RUN.fullmatch(folder.path):
        return decided(*_run_folder(found["run"], folder, facts, runs, young))
    found = _OUTPUT.fullmatch(folder.path) or _SYSTEM.fullmatch(folder.path)
    execution = facts.executions.get(int(found["execution"])) if found else None
    if found is None or execution is None or execution.node != found["node"]:
        return decided(True, "not in this ML Metadata, so nothing is known of it")
    here = [number for number, uri in facts.artifacts.items() if uri == folder.path]
    if facts.marked.intersection(here):
        return decided(False, "its removal was interrupted")
    for number in here:
        if number in artifacts:
            return decided(True, artifacts[number])
    if execution.run in runs:
        return decided(True, runs[execution.run])
    return decided(False, f"of run {execution.run}, which is old, and nothing kept needs it")


def _run_folder(
    run: str, folder: Folder, facts: Facts, runs: Mapping[str, str], young: float
) -> tuple[bool, str]:
    if run in runs:
        return True, runs[run]
    # A kept artifact's history is told by the run that made it.
    for execution in facts.executions.values():
        if execution.run != run:
            continue
        made = {number for number in execution.artifacts
                if facts.artifacts.get(number, "").endswith(f"/{execution.id}")}  # fmt: skip
        if needed := facts.published.keys() & made:
            return True, facts.published[min(needed)]
        if facts.blessed & made:
            return True, "the run of a blessed model"
    if folder.changed >= young:
        return True, "young"
    return False, "an old run that nothing kept was made by"


def total(decisions: Iterable[Decision], *, keep: bool) -> int:
    """Returns the bytes of what is kept, or of what goes."""
    return sum(one.bytes for one in decisions if one.keep == keep)
