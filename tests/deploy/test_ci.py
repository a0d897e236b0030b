"""The workflow that runs the checks on GitHub."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tests.support.dockerfile import ROOT

WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text())
JOBS = WORKFLOW["jobs"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def commands(job: str) -> list[str]:
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


def test_pushes_and_pull_requests_run_the_fast_part_and_nights_run_everything() -> None:
    events = WORKFLOW[True]  # YAML 1.1 reads the key `on` as a boolean
    assert {"push", "pull_request", "schedule"} <= set(events)
    assert "make check-fast" in commands("fast")
    assert commands("all") == ["bash .ci/run"]
    assert "'push'" in JOBS["fast"]["if"]
    assert "'pull_request'" in JOBS["fast"]["if"]
    assert "'schedule'" in JOBS["all"]["if"]


@pytest.mark.parametrize("job", sorted(JOBS))
def test_jobs_run_on_every_supported_python(job: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    supported = SpecifierSet(project["requires-python"])
    versions = [
        version for version in (f"3.{minor}" for minor in range(30)) if version in supported
    ]
    assert JOBS[job]["strategy"]["matrix"]["python"] == versions


def test_commands_are_targets_of_the_makefile() -> None:
    scripts = [*commands("fast"), *commands("all"), (ROOT / ".ci" / "run").read_text()]
    used = [
        name for script in scripts for name in re.findall(r"^make ([a-z-]+)", script, re.MULTILINE)
    ]
    assert {"setup", "check-fast", "test"} <= set(used) <= TARGETS


def test_actions_are_pinned_to_commits() -> None:
    steps = [step for job in JOBS.values() for step in job["steps"]]
    actions = [step["uses"] for step in steps if "uses" in step]
    assert actions
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action) for action in actions)


def test_the_cached_environment_depends_on_the_locks() -> None:
    keys = [
        step["with"]["key"] for step in JOBS["fast"]["steps"] if "cache@" in step.get("uses", "")
    ]
    assert len(keys) == 1
    locks = re.findall(r"requirements/\w+\.txt", keys[0])
    assert "requirements/locked.txt" in locks
    assert all((ROOT / lock).exists() for lock in locks)
