"""The page, made of a real dataset, model, clips and metadata store."""

from __future__ import annotations

import html
import json
import pathlib
import re
import shutil
import urllib.parse
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2 as proto

from audio import contract
from audio.errors import LineageError, UsageError
from pipeline.config.sections import ReportSettings
from pipeline.report import page as page_module
from pipeline.report.page import find_clips, find_run, write_report
from tests.support.pages import HOSTILE, NIGHTS, TRAINING, Store, make_root

SETTINGS = ReportSettings()


@pytest.fixture(scope="module")
def folder(model, dataset, tmp_path_factory) -> pathlib.Path:
    made = tmp_path_factory.mktemp("pages")
    make_root(made, dataset, model)
    return made


def page_of(folder: pathlib.Path, run: str, **settings: Any) -> pathlib.Path:
    root = str(folder / "root")
    clips = (find_clips(root, run) or (None,))[0]
    return pathlib.Path(
        write_report(
            root=root,
            run_ids=[run],
            output=clips or str(folder / "training"),
            settings=ReportSettings(**settings),
            clips=clips,
        )
    )


def linked(page: pathlib.Path) -> set[str]:
    text = page.read_text()
    return {
        html.unescape(name)
        for name in re.findall(r' (?:src|href|data-href|data-picture)="([^"#][^"]*)"', text)
    }


def test_everything_that_the_page_names_is_there(folder) -> None:
    page = page_of(folder, NIGHTS[1])
    names = linked(page)
    assert {"./clip-0000.wav", "../night-1/clip-0001.wav", "./manifest.json"} <= names
    assert len([name for name in names if name.endswith(".webp")]) == 5  # 2 nights, held out
    for name in names:
        assert re.match(r"\.\.?/", name), "the page must work from any folder"
        assert (page.parent / urllib.parse.unquote(name)).stat().st_size > 0


def test_the_first_night_has_none_before(folder) -> None:
    text = page_of(folder, NIGHTS[0]).read_text()
    assert "There is no night before" in text
    assert "night-2" not in text


def test_a_night_whose_clips_are_gone_is_passed_over(folder) -> None:
    (folder / "night-1").rename(folder / "away")
    try:
        assert "There is no night before" in page_of(folder, NIGHTS[1]).read_text()
    finally:
        (folder / "away").rename(folder / "night-1")


def test_the_page_says_what_it_is(folder) -> None:
    page = page_of(folder, NIGHTS[1])
    text = page.read_text()
    manifest = json.loads((page.parent / contract.MANIFEST).read_text())
    for said in (
        "How it sounds", "bandwidth_hz", "What to expect", "not blessed", "clip-0001.wav",
        "4 recordings", "<td>0.25 to 0.1235</td>", "movement is 1.00", "No cost is told",
        "held out", *(str(clip["seed"]) for clip in manifest["clips"]),
    ):  # fmt: skip
        assert said in text, said
    for node in ("AudioExampleGen", "Trainer", "LatestBlessedModel", "BatchGenerator"):
        assert f'<th scope="row">{node}</th>' in text
        assert f'text-anchor="middle">{node}</text>' in text
    assert "<li>BatchGenerator came from LatestBlessedModel.</li>" in text


def test_a_page_of_training_has_no_clips_and_the_rest(folder) -> None:
    text = page_of(folder, TRAINING).read_text()
    assert "<audio" not in text
    for said in ("Loss over steps", "not blessed", "How it sounds", "Evaluator"):
        assert said in text
    assert "BatchGenerator" not in text


def test_cost_is_the_time_at_the_price_that_was_set(folder) -> None:
    text = page_of(folder, NIGHTS[1], price_per_hour=3.6e5, currency="EUR").read_text()
    times = re.search(r"<tfoot>.*?</tfoot>", text, flags=re.DOTALL)
    assert times
    took, cost = re.findall(r'<td class="n">([\d.]+)', times[0])
    assert float(cost) == pytest.approx(100 * float(took), abs=5.1)  # took has one decimal
    assert "At 360000 EUR an hour" in text


def test_a_page_made_again_is_not_touched(folder) -> None:
    page = page_of(folder, NIGHTS[1])
    before = {path: path.stat().st_mtime_ns for path in page.parent.rglob("*")}
    page_of(folder, NIGHTS[1])
    assert {path: path.stat().st_mtime_ns for path in page.parent.rglob("*")} == before


def test_a_night_before_on_another_storage_is_not_copied(folder, tmp_path) -> None:
    root = tmp_path / "root"
    shutil.copytree(folder / "root", root)
    store = Store(root / "metadata.sqlite").store
    (first, _) = store.get_artifacts_by_type("nocturne.GeneratedClips")
    first.properties["output"].string_value = "gs://songs/night-1"
    store.put_artifacts([first])
    written = write_report(
        root=str(root), run_ids=[NIGHTS[1]], output=str(tmp_path / "p"), settings=SETTINGS,
        clips=str(folder / "night-2"),
    )  # fmt: skip
    assert "There is no night before" in pathlib.Path(written).read_text()


def test_a_page_elsewhere_links_to_the_clips(folder, tmp_path) -> None:
    root, clips = str(folder / "root"), str(folder / "night-2")
    written = write_report(
        root=root, run_ids=[NIGHTS[1]], output=str(tmp_path / "p"), settings=SETTINGS, clips=clips
    )
    assert all((tmp_path / "p" / name).exists() for name in linked(pathlib.Path(written)))


def test_more_clips_than_are_shown_are_counted(folder, monkeypatch) -> None:
    monkeypatch.setattr(page_module, "_MAX_CLIPS", 1)
    text = page_of(folder, NIGHTS[1]).read_text()
    assert "The first 1 of 2" in text
    assert "clip-0001" not in text


def test_a_clip_that_was_damaged_or_moved_leaves_the_others(folder, tmp_path) -> None:
    root, night = str(folder / "root"), folder / "night-2"
    (night / "clip-0000.wav").rename(tmp_path / "clip-0000.wav")
    sound = (night / "clip-0001.wav").read_bytes()
    (night / "clip-0001.wav").write_bytes(sound[:30])
    try:
        written = write_report(
            root=root, run_ids=[NIGHTS[1]], output=str(tmp_path / "p"), settings=SETTINGS,
            clips=str(night),
        )  # fmt: skip
    finally:
        (night / "clip-0001.wav").write_bytes(sound)
        (tmp_path / "clip-0000.wav").rename(night / "clip-0000.wav")
    text = pathlib.Path(written).read_text()
    assert text.count("No picture") == 2
    assert text.count("<audio") == 1


def test_no_hostile_text_becomes_markup(folder) -> None:
    text = page_of(folder, NIGHTS[1]).read_text()
    assert "<img src=x" not in text
    assert text.count("<script") == 1
    assert html.escape(HOSTILE, quote=False).partition("&gt;")[2] in text.replace("&#39;", "'")
    assert "/music/\\udcff.wav" in text  # a name that is no text


def test_the_run_that_made_the_clips_is_told_where_another_found_them(folder, tmp_path) -> None:
    root = tmp_path / "root"
    shutil.copytree(folder / "root", root)
    store = Store(root / "metadata.sqlite")
    newest = store.store.get_artifacts_by_type("nocturne.GeneratedClips")[-1]
    cached = proto.Execution.CACHED
    store.ran("BatchGenerator", "generation-3", makes=[newest.id], state=cached)
    clips = str(folder / "night-2")
    assert find_clips(str(root), "generation-3") == (clips, NIGHTS[1])
    assert find_clips(str(root), NIGHTS[1]) == (clips, NIGHTS[1])
    assert find_clips(str(root), TRAINING) is None


def test_runs_are_found_by_name_or_time(tmp_path) -> None:
    with pytest.raises(UsageError, match="known: none"):
        find_run(str(tmp_path), None)
    (tmp_path / "runs" / "generation-1").mkdir(parents=True)
    (tmp_path / "runs" / "generation-1" / "run.json").write_text("{}")
    assert find_run(str(tmp_path), None) == "generation-1"
    assert find_run(str(tmp_path), "generation-1") == "generation-1"
    with pytest.raises(UsageError, match=r"no run generation-2 below .*; known: generation-1"):
        find_run(str(tmp_path), "generation-2")


def test_without_metadata_there_is_no_page(tmp_path) -> None:
    with pytest.raises(LineageError, match="Give the --root of a pipeline"):
        find_clips(str(tmp_path), "generation-1")
