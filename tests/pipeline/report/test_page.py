"""The page, made of a real dataset, model, clips and metadata store."""

from __future__ import annotations

import graphlib
import html
import json
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse

import pytest
from ml_metadata.proto import metadata_store_pb2 as proto

from audio import contract
from audio.errors import LineageError, UsageError
from pipeline.report.page import find_clips, find_run, rows_of
from tests.support.pages import GENERATIONS, HOSTILE, TRAINING, Store


def linked(page: pathlib.Path) -> set[str]:
    text = page.read_text()
    return {
        html.unescape(name)
        for name in re.findall(r' (?:src|href|data-href|data-picture)="([^"#][^"]*)"', text)
    }


def test_everything_that_the_page_names_is_there(page) -> None:
    names = linked(page)
    assert {"./clip-0000.wav", "../clips-1/clip-0001.wav", "./manifest.json"} <= names
    # Four clips of each run and a held-out recording.
    assert len([name for name in names if name.endswith(".webp")]) == 9
    for name in names:
        assert re.match(r"\.\.?/", name), "the page must work from any folder"
        assert (page.parent / urllib.parse.unquote(name)).stat().st_size > 0


def test_the_first_run_has_no_previous_one(write_page) -> None:
    text = write_page(GENERATIONS[0]).read_text()
    assert "There is no previous run" in text
    assert "clips-2" not in text


def test_a_run_whose_clips_are_gone_is_passed_over(folder, write_page, tmp_path) -> None:
    (folder / "clips-1").rename(folder / "away")
    try:
        text = write_page(GENERATIONS[1], output=tmp_path).read_text()
    finally:
        (folder / "away").rename(folder / "clips-1")
    assert "There is no previous run" in text


def test_the_page_says_what_it_is(page) -> None:
    text = page.read_text()
    manifest = json.loads((page.parent / contract.MANIFEST).read_text())
    for said in (
        "How it sounds", "bandwidth_hz", "What to expect", "clip-0001.wav",
        "4 recordings", '<td class="n">0.12</td>', "movement is 1.00",
        'aria-label="at 0.12"', 'x1="-50.0"', "does not count",
        "held-out recording", *(str(clip["seed"]) for clip in manifest["clips"]),
    ):  # fmt: skip
        assert said in text, said
    for node in ("AudioExampleGen", "Trainer", "LatestBlessedModel", "BatchGenerator"):
        assert f'<th scope="row">{node}</th>' in text
        assert f'<span class="box">{node}<small' in text
    assert "<li>BatchGenerator came from LatestBlessedModel.</li>" in text


def test_a_refused_model_is_explained_with_what_to_do(page) -> None:
    text = page.read_text()
    first = text.partition('<p class="note">')[2].partition("</p>")[0]
    assert first.startswith("<strong>The model is refused: 1 of 2 checks failed.</strong>")
    assert "Add more recordings." in first
    assert "<code>nocturne run generation</code> does not use this model" in first
    assert text.index("The model is refused") < text.index("<nav")


def test_every_figure_of_the_data_card_is_explained(page) -> None:
    text = page.read_text()
    for name in contract.FIGURES:
        assert re.search(rf'<th scope="row">{name}<small class="faint">[^<]+</small>', text), name


def test_navigation_and_headings_are_the_same_words(page, write_page, tmp_path) -> None:
    priced = write_page(GENERATIONS[1], output=tmp_path, price_per_hour=1.0)
    for text in (page.read_text(), priced.read_text()):
        navigation = dict(re.findall(r'<li><a href="#(\w+)">([^<]+)</a></li>', text))
        headings = dict(re.findall(r'<h2 id="(\w+)">([^<]+)</h2>', text))
        assert navigation == headings
    assert navigation["times"] == "Time and cost"


def test_a_page_of_a_training_run_has_no_clips_and_the_rest(training_page) -> None:
    text = training_page.read_text()
    assert "<audio" not in text
    for said in ("Learning curves", "The model is refused", "How it sounds", "Evaluator"):
        assert said in text
    assert "BatchGenerator" not in text
    assert '<th scope="col">run</th>' not in text, "all steps are of one run"


def test_cost_is_the_time_at_the_price_that_was_set(page, write_page, tmp_path) -> None:
    assert "cost" not in page.read_text()
    priced = write_page(GENERATIONS[1], output=tmp_path, price_per_hour=3.6e5)
    text = priced.read_text()
    times = re.search(r"<tfoot>.*?</tfoot>", text, flags=re.DOTALL)
    assert times
    took, cost = re.findall(r'<td class="n">([\d.]+)', times[0])
    assert float(cost) == pytest.approx(100 * float(took), abs=5.1)  # took has one decimal
    assert "The machine costs 360000 per hour" in text


def test_a_page_made_again_is_not_touched(page, write_page) -> None:
    before = {path: path.stat().st_mtime_ns for path in page.parent.rglob("*")}
    write_page(GENERATIONS[1])
    assert {path: path.stat().st_mtime_ns for path in page.parent.rglob("*")} == before


def test_a_previous_run_on_another_storage_is_not_copied(folder, write_page, tmp_path) -> None:
    root = tmp_path / "root"
    shutil.copytree(folder / "root", root)
    store = Store(root / "metadata.sqlite").store
    (first, _) = store.get_artifacts_by_type("nocturne.GeneratedClips")
    first.properties["output"].string_value = "gs://songs/clips-1"
    store.put_artifacts([first])
    written = write_page(GENERATIONS[1], root=root, output=tmp_path / "p")
    assert "There is no previous run" in written.read_text()


def test_a_page_elsewhere_links_to_the_clips(write_page, tmp_path) -> None:
    written = write_page(GENERATIONS[1], output=tmp_path / "p")
    assert all((tmp_path / "p" / name).exists() for name in linked(written))


def test_more_clips_than_are_shown_are_counted(write_page, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("pipeline.report.page._MAX_CLIPS", 1)
    text = write_page(GENERATIONS[1], output=tmp_path).read_text()
    assert "The first 1 of 4 clips" in text
    assert "clip-0001" not in text


def test_a_clip_that_was_damaged_or_moved_leaves_the_others(folder, write_page, tmp_path) -> None:
    clips = tmp_path / "clips"
    shutil.copytree(folder / "clips-2", clips)
    (clips / "clip-0000.wav").unlink()
    (clips / "clip-0001.wav").write_bytes((clips / "clip-0001.wav").read_bytes()[:30])
    text = write_page(GENERATIONS[1], clips=clips, output=tmp_path / "p").read_text()
    assert text.count("No picture") == 2
    assert text.count("<audio") == 3


def test_no_hostile_text_becomes_markup(page) -> None:
    text = page.read_text()
    assert "<img src=x" not in text
    assert text.count("<script") == 1
    assert html.escape(HOSTILE, quote=False).partition("&gt;")[2] in text.replace("&#39;", "'")
    assert "/music/\\udcff.wav" in text  # a name that is not valid text


def test_no_style_is_inline_because_the_policy_forbids_it(page, training_page) -> None:
    for path in (page, training_page):
        text = path.read_text()
        assert '<div class="curves"' in text
        assert not re.search(r"<[^>]* style=", text)
        assert text.count("<style") == 1


def test_the_run_that_made_the_clips_is_named_if_another_took_them_from_the_cache(
    folder, tmp_path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(folder / "root", root)
    store = Store(root / "metadata.sqlite")
    newest = store.store.get_artifacts_by_type("nocturne.GeneratedClips")[-1]
    cached = proto.Execution.CACHED
    store.ran("BatchGenerator", "generation-3", makes=[newest.id], state=cached)
    clips = str(folder / "clips-2")
    assert find_clips(str(root), "generation-3") == (clips, GENERATIONS[1])
    assert find_clips(str(root), GENERATIONS[1]) == (clips, GENERATIONS[1])
    assert find_clips(str(root), TRAINING) is None


def test_lineage_rows_put_everything_below_all_it_was_made_from() -> None:
    sources = {"d": ["c", "a"], "c": ["b", "a"], "b": ["a"], "x": ["a"]}
    rows = rows_of(sources)
    assert [sorted(row) for row in rows] == [["a"], ["b", "x"], ["c"], ["d"]]
    assert rows_of({}) == []
    with pytest.raises(graphlib.CycleError):
        rows_of({"a": ["b"], "b": ["a"]})


def test_runs_are_found_by_name_or_time(tmp_path) -> None:
    with pytest.raises(UsageError, match="is not a pipeline root with finished runs"):
        find_run(str(tmp_path), None)
    (tmp_path / "runs" / "generation-1").mkdir(parents=True)
    (tmp_path / "runs" / "generation-1" / "run.json").write_text("{}")
    assert find_run(str(tmp_path), None) == "generation-1"
    assert find_run(str(tmp_path), "generation-1") == "generation-1"
    with pytest.raises(UsageError, match=r"no run generation-2 below .*; known: generation-1"):
        find_run(str(tmp_path), "generation-2")


def test_without_metadata_there_is_no_page(tmp_path) -> None:
    with pytest.raises(LineageError, match="Give the --root of a run"):
        find_clips(str(tmp_path), "generation-1")


def test_the_page_is_written_without_libraries_that_take_seconds_to_import() -> None:
    code = (
        "import sys, pipeline.report.page\n"
        "print(*{'apache_beam', 'sklearn', 'tensorflow', 'librosa', 'tfx'} & {*sys.modules})"
    )
    root = pathlib.Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.split() == []
