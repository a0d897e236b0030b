"""Looks for known vulnerabilities in the locks, with pip-audit or a copy of the advisories.

Usage: python deploy/audit.py [--advisories FOLDER]

Without --advisories, pip-audit asks PyPI about every pin. In a network that does not reach it, a
clone of the repository pypa/advisory-database serves: it is as old as the clone, and says so.
A finding that is explained in requirements/advisories.yaml does not count, until its date.

Exit code: 0 nothing, or all is explained; 1 a finding is not; 2 the audit could not be made.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import yaml
from packaging.utils import canonicalize_name
from packaging.version import Version

REQUIREMENTS = pathlib.Path(__file__).parents[1] / "requirements"
# The locks of images are parts of locked.txt.
LOCKS = ("locked.txt", "airflow.txt", "uv.txt")


class AuditError(RuntimeError):
    """The audit could not be made; the message says why."""


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Finding:
    """One vulnerability of one pin."""

    package: str
    version: str
    id: str
    fixed: str


def pins(lock: pathlib.Path) -> list[tuple[str, str]]:
    """Returns the names and versions of a lock."""
    found = re.findall(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", lock.read_text(), flags=re.MULTILINE)
    return [(str(canonicalize_name(name)), version) for name, version in found]


def is_affected(version: str, affected: dict) -> bool:
    """Whether an advisory's entry is about a version: it is listed, or within a range."""
    if version in affected.get("versions", ()):
        return True
    for span in affected.get("ranges", ()):
        if span["type"] != "ECOSYSTEM":
            continue
        inside = False
        for event in span["events"]:
            if "introduced" in event and Version(version) >= Version(event["introduced"]):
                inside = True
            if "fixed" in event and Version(version) >= Version(event["fixed"]):
                inside = False
            if "last_affected" in event and Version(version) > Version(event["last_affected"]):
                inside = False
        if inside:
            return True
    return False


def in_copy(lock: pathlib.Path, advisories: pathlib.Path) -> Iterator[Finding]:
    """Yields what a copy of the advisories says of a lock's pins.

    Raises:
      AuditError: the folder is no such copy.
    """
    if not (advisories / "vulns").is_dir():
        raise AuditError(f"{advisories} is no clone of pypa/advisory-database: it has no vulns/")
    for name, version in pins(lock):
        for path in sorted((advisories / "vulns" / name).glob("*.yaml")):
            advisory = yaml.safe_load(path.read_text())
            for affected in () if advisory.get("withdrawn") else advisory["affected"]:
                if canonicalize_name(affected["package"]["name"]) != name:
                    continue
                if is_affected(version, affected):
                    fixed = ", ".join(fixes(affected))
                    yield Finding(package=name, version=version, id=advisory["id"], fixed=fixed)


def fixes(affected: dict) -> list[str]:
    """Returns the versions that an advisory's entry is mended in; commits are left out."""
    spans = [span for span in affected.get("ranges", ()) if span["type"] == "ECOSYSTEM"]
    return [event["fixed"] for span in spans for event in span["events"] if "fixed" in event]


def newest(advisories: pathlib.Path) -> str:
    """Returns the date of the newest advisory of a copy; ids begin with their year."""
    years: dict[str, list[pathlib.Path]] = {}
    for path in advisories.glob("vulns/*/PYSEC-*.yaml"):
        years.setdefault(path.name.split("-")[1], []).append(path)
    texts = [path.read_text() for path in years[max(years)]]
    return max(re.findall(r'^published: "?(\d{4}-\d\d-\d\d)', "\n".join(texts), re.MULTILINE))


def by_service(lock: pathlib.Path) -> Iterator[Finding]:
    """Yields what PyPI says of a lock's pins, through pip-audit.

    `--strict`: without it, a package that PyPI's service does not tell about counts as clean.

    Raises:
      AuditError: pip-audit could not look at every pin.
    """
    command = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--require-hashes"]
    command += ["--progress-spinner=off", "--format=json", "-r", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout.startswith("{"):
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise AuditError(f"pip-audit could not look at {lock.name}: {said}")
    for each in json.loads(done.stdout)["dependencies"]:
        for found in each["vulns"]:
            yield Finding(package=each["name"], version=each["version"], id=found["id"],
                          fixed=", ".join(found["fix_versions"]))  # fmt: skip


def explained(path: pathlib.Path, today: datetime.date) -> dict[str, str]:
    """Returns the reasons of advisories that are known and do no harm, by id, but for expired ones.

    Raises:
      AuditError: an entry lacks one of id, package, why and until.
    """
    reasons = {}
    for entry in yaml.safe_load(path.read_text()) or []:
        if set(entry) != {"id", "package", "why", "until"}:
            raise AuditError(f"{path.name}: wanted id, package, why and until, got {entry}")
        if entry["until"] >= today:
            reasons[entry["id"]] = entry["why"]
    return reasons


def report(findings: set[Finding], reasons: dict[str, str]) -> int:
    """Prints the findings; returns how many are not explained."""
    for finding in sorted(findings):
        reason = reasons.get(finding.id)
        state = (
            f"explained: {reason}" if reason else f"NOT EXPLAINED; fixed in {finding.fixed or '-'}"
        )
        print(f"{finding.package} {finding.version}  {finding.id}  {state}")
    for gone in sorted(set(reasons) - {finding.id for finding in findings}):
        print(f"{gone} is explained and was not found: remove it from advisories.yaml?")
    return sum(finding.id not in reasons for finding in findings)


def main(argv: list[str]) -> int:
    """Audits all locks; returns the exit code."""
    options = argparse.ArgumentParser(prog="audit")
    options.add_argument("--advisories", type=pathlib.Path)
    options.add_argument("--requirements", type=pathlib.Path, default=REQUIREMENTS)
    given = options.parse_args(argv)
    try:
        reasons = explained(given.requirements / "advisories.yaml", datetime.date.today())
        findings: set[Finding] = set()
        count = 0
        for lock in (given.requirements / name for name in LOCKS):
            found = in_copy(lock, given.advisories) if given.advisories else by_service(lock)
            findings.update(found)
            count += len(pins(lock))
    except AuditError as error:
        print(f"audit: {error}", file=sys.stderr)
        print("audit: where PyPI is out of reach: make audit ADVISORIES=CLONE", file=sys.stderr)
        return 2
    unexplained = report(findings, reasons)
    print(f"audit: {count} pins, {len(findings)} findings, {unexplained} not explained")
    if given.advisories:
        print(f"audit: against a copy whose newest advisory is of {newest(given.advisories)}")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
