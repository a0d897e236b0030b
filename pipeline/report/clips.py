"""A night's clips as a page shows them, each beside the one of the night before."""

from __future__ import annotations

import dataclasses
import json
import posixpath
import urllib.parse
from typing import Any

from audio.config import AudioConfig
from audio.errors import AudioError
from pipeline.report.links import relative
from pipeline.root import trace
from pipeline.spectrograms import recording_webp
from storage import files
from storage.outputs import Output

PAGE_FILES = "page"
_PLAYABLE = "clips"
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationRun:
    """A finished run of generation.

    Attributes:
      path: its folder, local or gs://.
      manifest: as it says.
    """

    path: str
    manifest: Row

    @property
    def audio(self) -> AudioConfig:
        """The front end of its clips."""
        return AudioConfig.from_json(json.dumps(self.manifest["audio"]))


class ClipViews:
    """Makes views of clips, and puts their pictures beside the page.

    Attributes:
      place: the page's folder.
    """

    def __init__(self, place: Output) -> None:
        self.place = place

    def night(
        self, night: GenerationRun, before: GenerationRun | None, *, max_clips: int
    ) -> list[Row]:
        """Returns a view of each clip, those that were left out among them, by their number."""
        earlier = {entry["index"]: entry for entry in before.manifest["clips"]} if before else {}
        manifest = night.manifest
        entries = sorted([*manifest["clips"], *manifest["unhealthy"]], key=lambda one: one["index"])
        views = []
        for entry in entries[:max_clips]:
            view = _view(manifest, entry)
            if "file" in entry:
                view |= self._sound(night, entry)
                if before and entry["index"] in earlier:
                    view["before"] = self._sound(before, earlier[entry["index"]])
            views.append(view)
        return views

    def _sound(self, night: GenerationRun, entry: Row) -> Row:
        """Returns where a clip and its picture are, relative to the page."""
        path = files.join(night.path, entry["file"])
        return {
            "href": self._link(path, entry),
            "picture": self._picture(path, entry, night.audio),
            "seconds": entry["duration_seconds"],
            "seed": entry["seed"],
            "loudness": entry["loudness_lufs"],
        }

    def _link(self, path: str, entry: Row) -> str | None:
        """Returns a link to a clip, which is copied beside a page that is elsewhere."""
        if not files.exists(path):
            return None
        link = relative(path, self.place.path)
        if link is None:
            stem, ending = posixpath.splitext(posixpath.basename(entry["file"]))
            name = f"{_PLAYABLE}/{stem}-{entry['sha256'][:8]}{ending}"
            with files.open_local(path) as file:
                self.place.publish(name, file)
            link = "./" + urllib.parse.quote(name)
        return link

    def _picture(self, path: str, entry: Row, audio: AudioConfig) -> str | None:
        """Draws a clip, unless that was done before: the picture's name follows from its sound."""
        stem = posixpath.splitext(posixpath.basename(entry["file"]))[0]
        name = f"{PAGE_FILES}/{stem}-{entry['sha256'][:8]}.webp"
        if self.place.checksum(name) is None:
            try:
                with files.open_local(path) as file:
                    drawn = recording_webp(file, audio, seconds=entry["duration_seconds"])
            except (OSError, AudioError):
                return None  # moved away or damaged since: the page says that there is none
            self.place.replace(name, drawn)
        return "./" + urllib.parse.quote(name)


def _view(manifest: Row, entry: Row) -> Row:
    """Returns what is said of a clip."""
    attempts, faults = entry["attempts"], entry["health"]["faults"]
    primer = entry["primer"]
    source = str(primer.get("file") or primer.get("uri") or "none")
    primer_name = source.replace("\\", "/").rsplit("/", 1)[-1]
    name = entry.get("file", f"clip {entry['index']}")
    state = "left-out" if "file" not in entry else "again" if len(attempts) > 1 else "well"
    lines = trace.clip_lines(trace.from_manifest(manifest, entry)) if "file" in entry else []
    return {
        "index": entry["index"],
        "name": name,
        "state": state,
        "faults": faults or sorted({fault for one in attempts for fault in one["faults"]}),
        "attempts": len(attempts),
        "flux": entry["health"].get("flux"),
        "level_db": entry["health"].get("level_db"),
        "seed": entry["seed"],
        "loudness": entry.get("loudness_lufs"),
        "seconds": entry.get("duration_seconds"),
        "primer": primer_name,
        "primer_source": source,
        "trace": "\n".join(lines),
        "search": " ".join([name, source, str(entry["seed"]), state]).lower(),
        "href": None,
        "picture": None,
        "before": None,
    }
