"""The page, made from a real run, looked at by a real browser."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess

import pytest

from audio import contract
from generator import generate
from generator.requests import GenerateSettings
from pipeline.report import write_report
from tests.system import require_program

HOSTILE = "<script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def page(model, dataset, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("page")
    settings = GenerateSettings(clips=2, seconds=1, iterations=2)
    generate.run(model_path=str(model), output=str(folder / "clips"), settings=settings)
    figures = {"mse": 0.25, "nll": None, "rhythm_interval": [0.25, 0.123456]}
    evaluation = {"blessed": False, "reasons": [f"FAIL: {HOSTILE}"], "figures": figures}
    return write_report(
        str(folder),
        clips=str(folder / "clips"),
        model=str(model),
        dataset=str(dataset),
        evaluation=evaluation,
        anomalies=("train: level_db: too loud",),
    )


def test_everything_that_the_page_names_is_there(page) -> None:
    text = page.read_text()
    names = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(names) == 6  # two clips, two pictures, held out, loss
    for name in names:
        assert not re.match(r"[a-z]+:|/", name), "the page must work from any folder"
        assert (page.parent / name).stat().st_size > 0


def test_the_page_says_what_it_is(page) -> None:
    text = page.read_text()
    for said in (
        "How it sounds",
        "bandwidth_hz",
        "What to expect",
        "not blessed",
        "too loud",
        "clip-0001.wav",
        "4 recordings",
        "<td>0.25 to 0.1235</td>",
    ):
        assert said in text
    manifest = json.loads((page.parent / "clips" / contract.MANIFEST).read_text())
    assert str(manifest["clips"][1]["seed"]) in text


def test_a_browser_shows_it_and_a_hostile_text_cannot_inject(page, tmp_path) -> None:
    chromium = require_program("chromium", "chromium-browser", "google-chrome")
    done = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", f"--user-data-dir={tmp_path}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "<title>Nocturne: 2 clips</title>" in done.stdout
    assert done.stdout.count("<audio") == 2
    assert "&lt;script&gt;document.title" in done.stdout
