"""Headless Chromium for tests of pages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tests.support.system import require_program

# Without these, Chromium looks up Google's hosts whenever it starts.
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Starts the system's Chromium under Playwright; skips the test if there is none."""
    program = require_program("chromium", "chromium-browser", "google-chrome")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()
