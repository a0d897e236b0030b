import importlib.metadata
import pathlib
import re
import subprocess
import tomllib

import farmhash
import pytest
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
LOCKS = sorted(path.stem for path in REQUIREMENTS.glob("*.txt") if path.stem != "overrides")
# PyPI has no wheels of these two; building them from source needs no compiler.
SOURCES = {"google-apitools", "rouge-score"}


@pytest.mark.parametrize("name", LOCKS)
def test_locks_have_hashes_and_name_no_host(name: str) -> None:
    text = (REQUIREMENTS / f"{name}.txt").read_text()
    assert not re.search(r"https?://|--index|--find-links", text)
    packages = re.findall(r"^[a-z0-9][\w.-]*==\S+.*$", text, flags=re.MULTILINE)
    assert packages
    assert all(line.endswith("\\") for line in packages)
    assert text.count("--hash=sha256:") >= len(packages)


@pytest.mark.parametrize("name", LOCKS)
def test_locks_forbid_builds_from_source(name: str) -> None:
    text = (REQUIREMENTS / f"{name}.txt").read_text()
    assert re.search(r"^--only-binary :all:$", text, flags=re.MULTILINE)
    assert set(re.findall(r"^--no-binary (\S+)$", text, flags=re.MULTILINE)) <= SOURCES


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_what_is_built_from_source_is_pure_python(name: str) -> None:
    files = importlib.metadata.files(name) or []
    assert files
    assert [path for path in files if path.suffix in (".so", ".c", ".pyx")] == []


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.12"])
@pytest.mark.parametrize("name", ["airflow", "locked"])
def test_every_other_locked_package_has_a_wheel(tmp_path, name: str, python: str) -> None:
    command = [
        *(ROOT / ".tools" / "bin" / "uv", "pip", "install", "--dry-run", "--no-deps"),
        *("--target", tmp_path, "--python-version", python),
        *("--python-platform", "x86_64-manylinux_2_39"),
        *("--require-hashes", "-r", REQUIREMENTS / f"{name}.txt"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Would install" in done.stderr


def test_farmhash_has_the_values_of_the_version_that_data_validation_asks_for() -> None:
    """requirements/overrides.txt replaces pyfarmhash 0.3.2, which these values are from."""
    texts = ("", "frames", "a" * 100)
    assert [farmhash.fingerprint32(text) for text in texts] == [3696677242, 1209217675, 3724713576]
    assert [farmhash.fingerprint64(text) for text in texts] == [
        11160318154034397263,
        14236287684505791180,
        13153998191144080618,
    ]


def test_the_package_asks_for_what_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    for text in [*project["dependencies"], *(text for extra in extras for text in extra)]:
        requirement = Requirement(text)
        if requirement.name != project["name"]:
            assert importlib.metadata.version(requirement.name) in requirement.specifier
