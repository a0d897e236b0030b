"""The documentation builds without warnings, and the program accepts the commands in it."""

from __future__ import annotations

import html.parser
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from typing import Any

import pytest
import typer.main

from tests.support.browser import chromium

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = ("audio", "beam_transforms", "generator", "pipeline", "storage", "trainer")


def build(config: pathlib.Path, site: pathlib.Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
    return subprocess.run(
        [*command, "--site-dir", str(site)],
        cwd=config.parent,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Fetches(html.parser.HTMLParser):
    """Collects the addresses that a browser fetches for a page by itself."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        followed = tag in ("a", "form") or attributes.get("rel") in ("canonical", "prev", "next")
        for name in ("src", "href"):
            if attributes.get(name) and not followed:
                self.addresses.append(str(attributes[name]))


def test_pages_fetch_only_files_of_the_site(site) -> None:
    pages = sorted(site.rglob("*.html"))
    assert site / "tutorial.html" in pages
    for page in pages:
        if page.name == "404.html":  # its addresses are those of a server
            continue
        addresses = Fetches(page.read_text(encoding="utf-8")).addresses
        assert any(address.endswith(".css") for address in addresses)
        for address in addresses:
            assert "//" not in address, page
            assert (page.parent / address.partition("#")[0]).exists(), (page, address)


def test_search_works_when_the_site_is_opened_from_a_folder(site) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.goto((site / "index.html").as_uri())
        page.locator("[data-md-component=search-query]").fill("mean reversion")
        results = page.locator(".md-search-result__link")
        results.first.wait_for(state="attached")
        pages = {link.get_attribute("href").partition("#")[0] for link in results.all()}
        assert (site / "method.html").as_uri() in {address.partition("?")[0] for address in pages}


def test_every_module_with_a_docstring_is_in_the_reference(site) -> None:
    for package in PACKAGES:
        page = (site / "reference" / f"{package}.html").read_text(encoding="utf-8")
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "__init__.py" and path.parent.name != "dags":  # Airflow's folder
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                assert f'id="{module}"' in page


def test_the_reference_has_arguments_results_and_errors(site) -> None:
    page = (site / "reference" / "audio.html").read_text(encoding="utf-8")
    start = page.index('id="audio.mel.log_mel"')
    assert all(word in page[start:] for word in ("Parameters:", "Returns:", "Raises:"))


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("faq.md", "[gone](gone.md)", "gone.md"),
        ("faq.md", "[gone](glossary.md#gone)", "#gone"),
        ("extra.md", "# Not in the navigation", "extra.md"),
        ("reference/audio.md", "::: audio.gone", "audio.gone"),
    ],
)
def test_an_error_in_the_docs_fails_the_build(tmp_path, name: str, text: str, why: str) -> None:
    for file in ("mkdocs.yml", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / file, tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "audio").symlink_to(ROOT / "audio")
    for page in (tmp_path / "docs" / "reference").glob("*.md"):
        page.write_text(f"# {page.stem}\n")
    with (tmp_path / "docs" / name).open("a", encoding="utf-8") as page:
        page.write(f"\n\n{text}\n")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 1
    assert why in done.stderr


def commands(text: str) -> list[list[str]]:
    """Returns the nocturne commands in the code blocks of a page, without the program's name."""
    found = []
    for block in re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            match = re.match(r"(?:\$ )?(?:\.venv/bin/)?nocturne (.*)", line)
            if match:
                found.append(shlex.split(match[1], comments=True))
    return found


PAGES = ["README.md", *(str(p.relative_to(ROOT)) for p in sorted(ROOT.glob("docs/*.md")))]
MARKDOWN = [
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "deploy/**/*.md")
    for path in sorted(ROOT.glob(pattern))
]
FOLDERS = (*PACKAGES, "benchmarks", "deploy", "docs", "requirements", "tests")


@pytest.mark.parametrize("page", PAGES)
def test_the_program_accepts_the_commands_in_the_docs(page: str) -> None:
    from pipeline.cli.app import app
    from pipeline.config.load import load_config

    program: Any = typer.main.get_command(app)
    for words in commands((ROOT / page).read_text(encoding="utf-8")):
        context, rest = program.make_context("nocturne", list(words)), words
        command = program
        while hasattr(command, "commands"):
            _, command, rest = command.resolve_command(context, rest)
            context = command.make_context(command.name, list(rest), parent=context)
        load_config(None, context.params.get("overrides") or [])


def test_commands_are_found_in_code_blocks() -> None:
    text = "```\n$ nocturne a \\\n  --b 'c d'  # why\nnothing\n```\nnocturne no\n"
    assert commands(text) == [["a", "--b", "c d"]]
    assert len(commands((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"))) > 5


def prose(text: str) -> list[str]:
    """Returns the lines of a page outside code blocks, tables and link definitions."""
    lines, in_code = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code and not line.startswith("|") and not re.match(r"\[[^\]]+\]: ", line):
            lines.append(line)
    return lines


@pytest.mark.parametrize("page", MARKDOWN)
def test_lines_have_at_most_100_columns(page: str) -> None:
    assert [line for line in prose((ROOT / page).read_text("utf-8")) if len(line) > 100] == []


def test_prose_is_what_is_outside_code_tables_and_link_definitions() -> None:
    text = "# a\n\n```\ncode\n```\n| table |\n[link]: b.md\n[c](d.md)\n    ```\n    e\n    ```\nf"
    assert prose(text) == ["# a", "", "[c](d.md)", "f"]


def test_the_readme_has_at_most_90_lines() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 90


@pytest.mark.parametrize("page", MARKDOWN)
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    named = re.findall(rf"(?<![\w/.-])((?:{'|'.join(FOLDERS)})/[\w./-]*\.[a-z]\w*)", text)
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_python_of_the_readme_imports_names_that_exist() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    imports = re.findall(r"^from ([\w.]+) import (.+)$", text, flags=re.MULTILINE)
    assert imports
    for module, names in imports:
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8")
        for name in names.split(", "):
            assert re.search(rf"^(?:def|class) {name}\b", source, flags=re.MULTILINE)
