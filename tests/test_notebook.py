"""docs/notebook.ipynb, run top to bottom as a newcomer runs it."""

from __future__ import annotations

import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = pathlib.Path(__file__).parent.parent / "docs" / "notebook.ipynb"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_notebook_runs_top_to_bottom(tmp_path, monkeypatch) -> None:
    # Nothing is left in a home. The kernel listens on 127.0.0.1 and wants its messages signed.
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = "".join(each.get("text", "") for each in outputs)
    assert "held-out" in printed
    assert "blessed" in printed or "refused" in printed
    sounds = [each for each in outputs if "<audio" in each.get("data", {}).get("text/html", "")]
    pictures = [each for each in outputs if "image/png" in each.get("data", {})]
    assert len(sounds) == 4
    assert len(pictures) == 3
    clips = sorted(path.name for path in (tmp_path / "notebook-work" / "clips").glob("*.wav"))
    assert clips == ["clip-0000.wav", "clip-0001.wav"]


def test_the_notebook_is_kept_without_its_output() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs"), "clear the outputs before you commit"
