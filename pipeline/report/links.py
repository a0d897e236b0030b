"""Relative links from a page to other files in the same folder tree or bucket."""

from __future__ import annotations

import os
import pathlib
import posixpath
import urllib.parse

_BUCKETS = "gs://"


def relative(target: str, page: str) -> str | None:
    """Returns a relative link from a page to a file, which stays valid if both are moved together.

    The link starts with a dot, so that no file name can be read as a scheme such as `javascript:`,
    and characters with a meaning in addresses are escaped.

    Args:
      target: The file, local or gs://.
      page: The folder of the page.

    Returns:
      The link; None if the file is in another bucket, or only one of the two is in a bucket.
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
