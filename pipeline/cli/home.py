"""A home for users that have none, as in containers and in jobs of a scheduler.

Matplotlib, Keras, Numba and Google's clients look for settings and caches there when they are
imported, and some of them fail if there is no such folder.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import pathlib
import tempfile

from storage import files


def provide_home() -> None:
    """Sets HOME to a temporary folder if it names none, and LOGNAME if this user has no name.

    A home that can only be read is kept, because it may hold credentials.
    """
    try:
        missing = not os.path.isdir(pathlib.Path.home())  # noqa: PTH112 (it never raises)
    except RuntimeError:  # there is no HOME, and no user of this number
        missing = True
    if missing:
        os.environ["HOME"] = str(_own_folder(files.temporary_state_folder()))
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"user{os.getuid()}"


def _own_folder(path: pathlib.Path) -> pathlib.Path:
    """Returns a folder that nobody else can write to: the given one, or a new one."""
    with contextlib.suppress(OSError):
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
        if path.is_dir() and status.st_uid == os.getuid() and not status.st_mode & 0o022:
            return path
    return pathlib.Path(tempfile.mkdtemp(prefix="nocturne-"))
