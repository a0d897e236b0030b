from __future__ import annotations

import pytest

from pipeline.report.links import relative


@pytest.mark.parametrize(
    ("target", "page", "link"),
    [
        ("gs://songs/night/clip.wav", "gs://songs/night", "./clip.wav"),
        ("gs://songs/n1/clip.wav", "gs://songs/n2", "../n1/clip.wav"),
        ("gs://songs/clip.wav", "gs://songs", "./clip.wav"),
        ("gs://songs/clip.wav", "gs://other/night", None),
        ("/night/clip.wav", "gs://songs/night", None),
        ("gs://songs/clip.wav", "/night", None),
        ("/night/clip.wav", "/night/page", "../clip.wav"),
        ("/night/javascript:alert(1)", "/night", "./javascript%3Aalert%281%29"),
        ("/night/a?b#c%d \"'<>&.wav", "/night", "./a%3Fb%23c%25d%20%22%27%3C%3E%26.wav"),
        ("/night/\udcff.wav", "/night", "./%FF.wav"),
    ],
)
def test_links_hold_where_both_are_copied_and_are_never_of_another_scheme(
    target, page, link
) -> None:
    assert relative(target, page) == link
