"""Links of a page to files beside it, in a folder or a bucket."""

from __future__ import annotations

import os
import pathlib
import posixpath
import urllib.parse

_BUCKETS = "gs://"


def relative(target: str, page: str) -> str | None:
    """Returns a link from a page's folder to a file, that holds wherever both are copied together.

    It begins with a dot, so no name makes another scheme of it (`javascript:`), and what has a
    meaning in an address is escaped.

    Args:
      target: a file, local or gs://.
      page: the page's folder.

    Returns:
      The link; None where the two are not in one place.
    """
    if target.startswith(_BUCKETS) != page.startswith(_BUCKETS):
        return None
    if target.startswith(_BUCKETS):
        bucket, _, name = target.removeprefix(_BUCKETS).partition("/")
        same, _, folder = page.removeprefix(_BUCKETS).partition("/")
        if bucket != same:
            return None
        path = posixpath.relpath(f"/{name}", f"/{folder}")
    else:
        path = os.path.relpath(pathlib.Path(target).resolve(), pathlib.Path(page).resolve())
    dotted = path if path.startswith("../") else f"./{path}"
    return urllib.parse.quote(os.fsencode(dotted), safe="/")
