"""One pipeline root with clips, and the pages of its runs, for all tests of the page."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.config.sections import ReportSettings
from pipeline.report.page import find_clips, write_report
from tests.support.pages import GENERATIONS, TRAINING, make_root

WritePage = Callable[..., pathlib.Path]


@pytest.fixture(scope="session")
def folder(model, dataset, tmp_path_factory) -> pathlib.Path:
    """A folder with root/, clips-1/ and clips-2/."""
    made = tmp_path_factory.mktemp("pages")
    make_root(made, dataset, model, clips=4)
    return made


@pytest.fixture(scope="session")
def write_page(folder) -> WritePage:
    """Returns a function that writes the page of a run, beside its clips unless told otherwise."""

    def write(
        run: str,
        *,
        output: pathlib.Path | None = None,
        clips: pathlib.Path | None = None,
        root: pathlib.Path = folder / "root",
        **settings: Any,
    ) -> pathlib.Path:
        found = find_clips(str(root), run)
        source = str(clips) if clips else found and found[0]
        return pathlib.Path(
            write_report(
                root=str(root),
                run_ids=[run],
                output=str(output or source or folder / "training"),
                settings=ReportSettings(**settings),
                clips=source,
            )
        )

    return write


@pytest.fixture(scope="session")
def page(write_page) -> pathlib.Path:
    """The page of the second generation run."""
    return write_page(GENERATIONS[1])


@pytest.fixture(scope="session")
def training_page(write_page) -> pathlib.Path:
    """The page of the training run."""
    return write_page(TRAINING)
