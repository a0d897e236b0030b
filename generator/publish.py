"""Writing results so that they appear whole, once, and over nothing."""

from __future__ import annotations

import os
import pathlib
import tempfile

from audio.errors import OutputExistsError


def publish(path: str, content: bytes) -> None:
    """Puts content under a local path, unless it stands there already.

    Bytes go beside, are synced, and are linked to the name: the link fails where the name is
    taken, so two writers cannot both win.

    Raises:
      OutputExistsError: the path holds something else.
    """
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=target.parent, prefix=".publish-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        pathlib.Path(beside).chmod(0o644)
        try:
            os.link(beside, target)
        except FileExistsError:
            if target.read_bytes() != content:
                raise OutputExistsError(
                    f"{target} exists and differs from what would be written; it is left as it "
                    "is. Choose another --output."
                ) from None
    finally:
        pathlib.Path(beside).unlink()
