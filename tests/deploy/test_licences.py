"""The page of licences is that of the locks."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
LICENCES = ROOT / "deploy" / "licences.py"


def test_the_page_is_what_the_installed_packages_say() -> None:
    command = [sys.executable, str(LICENCES), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_copyleft_stands_in_the_text_for_people() -> None:
    """Who passes images on must know of it: what is named there is all there is."""
    rows = [line.split(" | ") for line in (ROOT / "docs" / "licences.md").read_text().splitlines()]
    copyleft = {row[0].lstrip("| ") for row in rows if len(row) == 4 and "GPL" in row[2]}
    assert copyleft == {"soxr"}
    text = (ROOT / "docs" / "supply_chain.md").read_text()
    for name in (*copyleft, "pyfftw", "av"):
        assert f"`{name}`" in text
