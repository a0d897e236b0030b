"""`nocturne doctor`: what it says of libraries that are missing or broken."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from pipeline.commands import doctor


@pytest.fixture
def without(monkeypatch, tmp_path) -> Any:
    """Returns a function that examines a machine on which some modules cannot be imported."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)

    def examine(*missing: str, error: Exception | None = None) -> dict[str, doctor.Finding]:
        def import_module(name: str) -> None:
            if name.partition(".")[0] in missing:
                raise error or ModuleNotFoundError(f"No module named {name!r}")

        monkeypatch.setattr(importlib, "import_module", import_module)
        return {finding.name: finding for finding in doctor.examine()}

    return examine


def test_nothing_is_missing_where_everything_can_be_imported(without) -> None:
    findings = without()
    del findings["memory"], findings["disk, this folder"]  # these depend on the machine
    assert [finding.missing for finding in findings.values() if finding.missing] == []
    assert findings["M4A and AAC files"].found == "can be read"
    assert findings["Google Cloud credentials"].note.startswith("only needed for gs:// paths")
    assert doctor.render(list(findings.values()))[-1] == "Nothing is missing."


def test_a_missing_module_is_named_with_what_needs_it_and_what_to_do(without) -> None:
    findings = without("ml_metadata")
    assert findings["ml_metadata"].found.startswith("No module named 'ml_metadata")
    lines = doctor.render(list(findings.values()))
    assert any(line.startswith("MISSING ml_metadata ") for line in lines)
    assert any(
        line.startswith("ml_metadata: `run`, `trace`, `report` and `prune` do not work. Run `make")
        for line in lines
    )
    assert findings["tensorflow"].missing == ""


@pytest.mark.parametrize("error", [OSError("libm.so.6: version not found\nmore"), TypeError()])
def test_a_library_that_breaks_while_it_is_loaded_does_not_end_the_examination(
    without, error: Exception
) -> None:
    finding = without("tensorflow", error=error)["tensorflow"]
    assert finding.missing
    assert finding.found in ("libm.so.6: version not found", "TypeError")


def test_without_pyav_only_m4a_and_aac_files_cannot_be_read(without) -> None:
    finding = without("av")["M4A and AAC files"]
    assert (finding.found, finding.missing) == ("cannot be read", "")
    assert "install PyAV" in finding.note


def test_credentials_that_name_no_file_are_missing(without, monkeypatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/none.json")
    assert "names a missing file" in without()["Google Cloud credentials"].missing
