"""The page in a real browser, from a folder: played, scrubbed, filtered, compared, attacked."""

from __future__ import annotations

import copy
import json
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from audio import contract
from tests.support.browser import chromium
from tests.support.pages import GENERATIONS, HOSTILE

pytestmark = pytest.mark.slow

# Of a manifest that somebody has made: our own names are plain.
FILE = "javascript:document.title='taken';\"><img src=x onerror=document.title='taken'>#?%41.wav"
TAKEN = "document.title === 'taken' || document.querySelector('img[src=x]') !== null"


@pytest.fixture(scope="module")
def clips(folder, tmp_path_factory) -> pathlib.Path:
    """A copy of the second run's clips that has all kinds of results, and a file with markup."""
    copied = tmp_path_factory.mktemp("hostile") / "clips-2"
    shutil.copytree(folder / "clips-2", copied)
    _make_hostile(copied)
    return copied


def _make_hostile(clips: pathlib.Path) -> None:
    """Makes clip 1 a second attempt, gives clip 2 a name with markup, and leaves out clip 3."""
    path = clips / contract.MANIFEST
    manifest = json.loads(path.read_text())
    again, odd, left_out = manifest["clips"][1:]
    again["attempts"].insert(0, {"seed": 1, "faults": ["frozen"]})
    again["loudness_lufs"] = -9.0
    (clips / odd["file"]).rename(clips / FILE)
    odd["file"] = FILE
    odd["primer"] = {"uri": f"/music/{HOSTILE}"}
    manifest["clips"].pop()
    left_out = {key: left_out[key] for key in ("index", "seed", "primer", "health", "attempts")}
    left_out["health"] = {"faults": [HOSTILE]}
    manifest["unhealthy"].append(left_out)
    path.write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def page(clips, write_page) -> pathlib.Path:
    return write_page(GENERATIONS[1], clips=clips)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


class Visit:
    """A page that is open, and what became of it."""

    def __init__(self, browser: Any, path: pathlib.Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.wrong: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on("console", self._hear)
        self.page.goto(path.as_uri())

    def _hear(self, message: Any) -> None:
        if message.type == "error":
            self.wrong.append(message.text)

    def at(self, clip: int = 0) -> float:
        return float(
            self.page.evaluate(f"document.querySelector('#clip-{clip} audio').currentTime")
        )

    def wait(self, condition: str) -> None:
        """Waits until an expression is true. Playwright's own way needs what the policy forbids."""
        for _ in range(1000):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"this never came true: {condition}")

    def shown(self) -> list[str]:
        """Returns the ids of the clips that are visible, in their order."""
        return list(
            self.page.eval_on_selector_all(
                ".clip", "all => all.filter(one => one.offsetParent).map(one => one.id)"
            )
        )


@pytest.fixture
def visit(browser, page) -> Iterator[Visit]:
    opened = Visit(browser, page, viewport={"width": 1100, "height": 900})
    yield opened
    assert opened.wrong == []
    assert all(url.startswith("file://") for url in opened.requests)
    opened.context.close()


def test_a_clip_plays_and_the_picture_follows(visit) -> None:
    assert not any(url.endswith(".wav") for url in visit.requests), (
        "audio is fetched when asked for"
    )
    visit.page.click("#clip-0 .play")
    visit.wait("document.querySelector('#clip-0 audio').currentTime > 0.3")
    visit.wait("parseFloat(document.querySelector('#clip-0 .head').style.left.slice(5)) > 14")
    assert visit.page.get_by_role("button", name="Pause clip-0000.wav").is_visible()
    visit.page.click("#clip-1 .play")
    visit.wait("document.querySelector('#clip-0 audio').paused")
    visit.wait("document.querySelector('#clip-1 audio').ended")
    assert visit.page.get_by_role("button", name="Play clip-0001.wav").is_visible()


def test_a_clip_is_played_and_scrubbed_by_the_keyboard(visit) -> None:
    strip = visit.page.locator("#clip-0 .strip")
    visit.page.focus("#sort")
    for _ in range(4):
        visit.page.keyboard.press("Tab")
        if strip.evaluate("one => one === document.activeElement"):
            break
    assert strip.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
    assert strip.get_attribute("role") == "slider"
    assert strip.get_attribute("aria-label") == "Position in clip-0000.wav"
    visit.page.keyboard.press("ArrowRight")
    assert visit.at() == 1
    assert strip.get_attribute("aria-valuenow") == "1"
    assert strip.get_attribute("aria-valuetext") == "0:01 of 0:02"
    visit.page.keyboard.press("PageUp")
    assert visit.at() == 2, "no further than the end"
    visit.page.keyboard.press("Home")
    assert visit.at() == 0
    visit.page.keyboard.press("Space")
    visit.wait("document.querySelector('#clip-0 audio').currentTime > 0.2")
    visit.page.keyboard.press("Space")
    visit.wait("document.querySelector('#clip-0 audio').paused")
    assert visit.page.evaluate("scrollY") < 900, "space does not turn the page over"


def test_a_click_into_the_picture_goes_there(visit) -> None:
    strip = visit.page.locator("#clip-0 .strip")
    box = strip.bounding_box()
    strip.click(position={"x": box["width"] * 0.75, "y": 20})
    assert visit.at() == pytest.approx(1.5, abs=0.02)
    visit.page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 20)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20)
    visit.page.mouse.up()
    assert visit.at() == pytest.approx(0.5, abs=0.02)


def test_the_previous_run_is_heard_from_the_same_position(visit) -> None:
    visit.page.locator("#clip-0 .strip").press("ArrowRight")
    picture = visit.page.get_attribute("#clip-0 img", "src")
    visit.page.check("#clip-0 input[value=b]")
    assert "/clips-1/clip-0000.wav" in visit.page.evaluate(
        "document.querySelector('#clip-0 audio').src"
    )
    assert visit.page.get_attribute("#clip-0 img", "src") != picture
    visit.page.click("#clip-0 .play")
    visit.wait("document.querySelector('#clip-0 audio').currentTime > 1.1")
    visit.page.locator("#clip-0 .strip").press("b")
    visit.wait("document.querySelector('#clip-0 audio').src.includes('/clips-2/')")
    assert visit.at() >= 1.1
    assert visit.page.get_attribute("#clip-0 img", "src") == picture


def test_clips_are_filtered_and_sorted(visit) -> None:
    everything = ["clip-0", "clip-1", "clip-2", "clip-3"]
    assert visit.shown() == everything
    visit.page.fill("#words", "CLIP-0001")
    assert visit.shown() == ["clip-1"]
    assert visit.page.inner_text("#count") == "1 of 4 clips"
    visit.page.fill("#words", "no such clip")
    assert visit.shown() == []
    visit.page.fill("#words", "")
    for result, found in (("retried", ["clip-1"]), ("left-out", ["clip-3"]), ("", everything)):
        visit.page.select_option("#result", result)
        assert visit.shown() == found
    visit.page.select_option("#sort", "loudness-down")
    assert visit.shown()[0] == "clip-1"
    assert visit.shown()[-1] == "clip-3", "what has no loudness comes last"
    primers = visit.page.eval_on_selector_all("#primer option", "all => all.map(one => one.value)")
    visit.page.select_option("#primer", primers[-1])
    assert 0 < len(visit.shown()) < 4


def test_the_trace_opens_and_leads_to_the_lineage(visit) -> None:
    assert not visit.page.is_visible("#clip-0 pre")
    visit.page.click("#clip-0 .trace summary")
    trace = visit.page.inner_text("#clip-0 pre")
    assert trace.startswith("clip       clip-0000.wav  2.0 s  sha256 ")
    visit.page.click("#clip-0 .trace a:has-text('lineage')")
    assert visit.page.evaluate("location.hash") == "#lineage"
    visit.page.click("text=Lineage as a list")
    assert visit.page.is_visible("text=BatchGenerator came from LatestBlessedModel.")


def test_the_next_clip_follows_where_that_is_asked(visit) -> None:
    visit.page.check("#onwards")
    visit.page.locator("#clip-0 .strip").press("End")
    visit.page.locator("#clip-0 .strip").press("ArrowLeft")
    visit.page.click("#clip-0 .play")
    visit.wait("document.querySelector('#clip-1 audio').currentTime > 0.1")


def test_hostile_names_do_nothing_and_their_file_plays(visit) -> None:
    visit.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    visit.page.click("#clip-2 .trace summary")
    visit.page.click("#clip-2 .play")
    visit.wait("document.querySelector('#clip-2 audio').currentTime > 0.1")
    assert visit.page.inner_text("#clip-2 h3") == FILE
    assert HOSTILE in visit.page.inner_text("#clip-3 .facts")
    assert visit.page.locator(f"#primer option[value^={json.dumps('<')}]").count() == 0
    assert not visit.page.evaluate(TAKEN)
    schemes = visit.page.eval_on_selector_all("[href]", "all => all.map(one => one.protocol)")
    assert set(schemes) == {"file:"}


def test_the_policy_lets_no_other_script_run_and_nothing_be_fetched(browser, page) -> None:
    visit = Visit(browser, page)
    visit.page.evaluate(
        """() => {
          const script = document.createElement('script');
          script.textContent = "document.title = 'taken'";
          document.body.append(script);
          document.body.insertAdjacentHTML('beforeend',
            `<img src=x onerror="document.title = 'taken'"><img src="http://127.0.0.1:9/pixel">`);
        }"""
    )
    visit.wait("[...document.images].at(-1).complete")
    assert visit.page.title() != "taken"
    assert len([text for text in visit.wrong if "Content Security Policy" in text]) >= 3
    visit.context.close()


def test_a_file_that_was_moved_away_is_said(browser, clips, page) -> None:
    clip = clips / "clip-0000.wav"
    clip.rename(clips / "away.wav")
    visit = Visit(browser, page)
    try:
        visit.page.click("#clip-0 .play")
        visit.wait(
            "document.querySelector('#clip-0 .message').textContent.includes('cannot be played')"
        )
    finally:
        (clips / "away.wav").rename(clip)
    visit.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1100])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_screen(
    browser, page, training_page, scheme, width
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    for path in (page, training_page):
        visit = Visit(
            browser, path, color_scheme=scheme, viewport={"width": width, "height": 844},
            is_mobile=width == 390, has_touch=width == 390,
        )  # fmt: skip
        for summary in visit.page.query_selector_all("summary"):
            summary.click()
        found = Axe().run(visit.page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == []
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        visit.context.close()


def test_it_prints_with_pictures_and_without_players(visit) -> None:
    visit.page.emulate_media(media="print")
    assert visit.page.is_visible("#clip-0 .strip img")
    for gone in (".tools", "#clip-0 .bar", "nav"):
        assert not visit.page.is_visible(gone)
    assert len(visit.page.pdf()) > 20_000


def test_without_scripts_there_are_native_players(browser, page) -> None:
    visit = Visit(browser, page, java_script_enabled=False)
    assert visit.page.is_visible("#clip-0 audio[controls]")
    assert not visit.page.is_visible(".tools")
    assert not visit.page.is_visible("#clip-0 .play")
    visit.context.close()


def test_a_reader_who_wants_calm_gets_it(browser, page) -> None:
    visit = Visit(browser, page, reduced_motion="reduce")
    assert (
        visit.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    )
    visit.page.click("#clip-0 .play")
    visit.wait("parseFloat(document.querySelector('#clip-0 .head').style.left.slice(5)) > 14")
    visit.context.close()


def test_a_run_of_a_hundred_clips_is_light_and_can_be_searched(
    browser, folder, write_page, tmp_path
) -> None:
    many = tmp_path / "many"
    shutil.copytree(folder / "clips-1", many)
    manifest = json.loads((many / contract.MANIFEST).read_text())
    first = manifest["clips"][0]
    manifest["clips"] = []
    for index in range(100):
        entry = {**copy.deepcopy(first), "index": index, "file": f"clip-{index:04d}.wav"}
        shutil.copy(folder / "clips-1" / "clip-0000.wav", many / entry["file"])
        manifest["clips"].append(entry)
    (many / contract.MANIFEST).write_text(json.dumps(manifest))
    path = write_page(GENERATIONS[0], clips=many)
    assert path.stat().st_size < 400_000
    visit = Visit(browser, path, viewport={"width": 1100, "height": 900})
    assert len(visit.shown()) == 100
    drawn = {url for url in visit.requests if "/clip-" in url}
    assert len(drawn) < 60, "pictures far below are not loaded"
    visit.page.fill("#words", "clip-0077")
    assert visit.shown() == ["clip-77"]
    visit.page.click("#clip-77 .play")
    visit.wait("document.querySelector('#clip-77 audio').currentTime > 0.1")
    assert visit.wrong == []
    visit.context.close()
