"""The audit of the locks, with advisories laid out as pypa/advisory-database lays them out."""

import datetime
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
ADVISORY = """
id: {id}
affected:
- package: {{name: {name}, ecosystem: PyPI}}
  ranges:
  - type: GIT
    repo: https://example.invalid/x
    events: [{{introduced: "0"}}, {{fixed: 74ea7cf7a6a27a4eeb2ae24e162bcc942a6706d5}}]
  - type: ECOSYSTEM
    events: [{{introduced: "1.2"}}, {{fixed: "{fixed}"}}]
  versions: ["1.2", "1.2.post1"]
published: "2026-10-0{day}T00:00:00Z"
"""


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """Locks with one package, a copy of two advisories, nothing explained."""
    requirements = tmp_path / "requirements"
    requirements.mkdir()
    for name in ("airflow.txt", "uv.txt"):
        (requirements / name).write_text("")
    pin(tmp_path, "Some_Song", "1.3")
    (requirements / "advisories.yaml").write_text("[]\n")
    folder = tmp_path / "copy" / "vulns" / "some-song"
    folder.mkdir(parents=True)
    for day, number, fixed in ((1, 11, "1.4"), (2, 12, "2")):
        text = ADVISORY.format(id=f"PYSEC-2026-{number}", name="some-song", fixed=fixed, day=day)
        (folder / f"PYSEC-2026-{number}.yaml").write_text(text)
    return tmp_path


def pin(folder: pathlib.Path, name: str, version: str) -> None:
    text = f"{name}=={version} \\\n    --hash=sha256:00\n"
    (folder / "requirements" / "locked.txt").write_text(text)


def explain(folder: pathlib.Path, until: datetime.date) -> None:
    text = "".join(
        f"- {{id: PYSEC-2026-{number}, package: some-song, why: not used, until: {until}}}\n"
        for number in (11, 12)
    )
    (folder / "requirements" / "advisories.yaml").write_text(text)


def audit(folder: pathlib.Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "deploy" / "audit.py")]
    command += ["--requirements", str(folder / "requirements"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_finding_that_nobody_explained_is_a_failure(folder) -> None:
    done = audit(folder, "--advisories", str(folder / "copy"))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "some-song 1.3  PYSEC-2026-11  NOT EXPLAINED; fixed in 1.4",
        "some-song 1.3  PYSEC-2026-12  NOT EXPLAINED; fixed in 2",
        "audit: 1 pins, 2 findings, 2 not explained",
        "audit: against a copy whose newest advisory is of 2026-10-02",
    ]


@pytest.mark.parametrize(
    ("version", "found"),
    [("1.1", 0), ("1.2", 2), ("1.2.post1", 2), ("1.3.9", 2), ("1.4", 1), ("2", 0), ("1.10", 1)],
)
def test_ranges_are_of_versions_and_not_of_text(folder, version: str, found: int) -> None:
    pin(folder, "some-song", version)
    done = audit(folder, "--advisories", str(folder / "copy"))
    assert f"1 pins, {found} findings" in done.stdout
    assert done.returncode == (1 if found else 0)


def test_an_explanation_counts_until_its_day(folder) -> None:
    today = datetime.date.today()
    explain(folder, today)
    done = audit(folder, "--advisories", str(folder / "copy"))
    assert done.returncode == 0
    assert "PYSEC-2026-11  explained: not used" in done.stdout
    explain(folder, today - datetime.timedelta(days=2))
    assert audit(folder, "--advisories", str(folder / "copy")).returncode == 1


def test_an_explanation_that_nothing_needs_is_told(folder) -> None:
    explain(folder, datetime.date.today() + datetime.timedelta(days=30))
    pin(folder, "some-song", "3")
    done = audit(folder, "--advisories", str(folder / "copy"))
    assert "PYSEC-2026-12 is explained and was not found" in done.stdout


def test_an_explanation_without_a_reason_is_refused(folder) -> None:
    (folder / "requirements" / "advisories.yaml").write_text("- {id: PYSEC-2026-11}\n")
    done = audit(folder, "--advisories", str(folder / "copy"))
    assert done.returncode == 2
    assert "wanted id, package, why and until" in done.stderr


def test_a_folder_that_is_no_copy_is_refused(folder) -> None:
    done = audit(folder, "--advisories", str(folder))
    assert done.returncode == 2
    assert "no clone of pypa/advisory-database" in done.stderr


@pytest.mark.slow
def test_a_service_that_cannot_tell_is_no_clean_bill(folder) -> None:
    """A made-up package: PyPI knows nothing of it, and no network knows even less."""
    pin(folder, "nocturne-is-on-no-index-at-all", "1.3")
    done = audit(folder)
    assert done.returncode == 2
    assert "pip-audit could not look at locked.txt" in done.stderr
    assert "ADVISORIES=CLONE" in done.stderr
