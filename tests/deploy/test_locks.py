import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    "name",
    sorted(path.name for path in (ROOT / "requirements").glob("*.txt") if path.stem != "overrides"),
)
def test_locks_have_hashes_and_name_no_host(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert not re.search(r"https?://|--index|--find-links", text)
    packages = re.findall(r"^[a-z0-9][\w.-]*==\S+.*$", text, flags=re.MULTILINE)
    assert packages
    assert all(line.endswith("\\") for line in packages)
    assert text.count("--hash=sha256:") >= len(packages)


def test_the_package_asks_for_what_is_locked() -> None:
    import importlib.metadata

    from packaging.requirements import Requirement

    for text in importlib.metadata.requires("nocturne") or []:
        requirement = Requirement(text)
        if requirement.name != "nocturne":
            assert importlib.metadata.version(requirement.name) in requirement.specifier
