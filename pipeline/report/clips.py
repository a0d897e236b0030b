"""The clips of a generation run as the page shows them, each with the one of the previous run."""

from __future__ import annotations

import dataclasses
import functools
import json
import posixpath
import urllib.parse
from typing import Any

from audio.config import AudioConfig
from audio.errors import AudioError
from pipeline.report.links import relative
from pipeline.root import trace
from pipeline.spectrograms import recording_webp
from storage import faults, files
from storage.outputs import Output

PAGE_FILES = "page"
_PLAYABLE = "clips"
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationRun:
    """A finished generation run.

    Attributes:
      path: Its folder, local or gs://.
      manifest: The content of its manifest.json.
    """

    path: str
    manifest: Row

    @property
    def audio(self) -> AudioConfig:
        """The front end of its clips."""
        return AudioConfig.from_json(json.dumps(self.manifest["audio"]))


class ClipViews:
    """Makes the views of clips that the template shows, and writes their pictures.

    Attributes:
      place: The folder of the page.
    """

    def __init__(self, place: Output) -> None:
        self.place = place

    def of_run(
        self, run: GenerationRun, previous: GenerationRun | None, *, max_clips: int
    ) -> list[Row]:
        """Returns a view of each clip of a run by its number, including those left out."""
        manifest = run.manifest
        earlier = {clip["index"]: clip for clip in previous.manifest["clips"]} if previous else {}
        entries = [*manifest["clips"], *manifest["unhealthy"]]
        views = []
        for entry in sorted(entries, key=lambda entry: entry["index"])[:max_clips]:
            view = _view(manifest, entry)
            if "file" in entry:
                view |= self._sound(run, entry)
                if previous and entry["index"] in earlier:
                    view["previous"] = self._sound(previous, earlier[entry["index"]])
            views.append(view)
        return views

    def _sound(self, run: GenerationRun, entry: Row) -> Row:
        """Returns the figures of a clip and the links to its file and picture."""
        path = files.join(run.path, entry["file"])
        return {
            "href": self._link(path, entry),
            "picture": self._picture(path, entry, run.audio),
            "seconds": entry["duration_seconds"],
            "seed": entry["seed"],
            "loudness": entry["loudness_lufs"],
        }

    def _link(self, path: str, entry: Row) -> str | None:
        """Returns a link to a clip; a clip in another place is copied to the page first."""
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
        """Returns a link to a clip's spectrogram, drawn once: its name contains the clip's hash."""
        stem = posixpath.splitext(posixpath.basename(entry["file"]))[0]
        name = f"{PAGE_FILES}/{stem}-{entry['sha256'][:8]}.webp"
        if self.place.checksum(name) is None:
            explain = functools.partial(faults.unreadable, path=path)
            try:
                with files.open_local(path) as opened, faults.watching(opened, explain) as file:
                    drawn = recording_webp(file, audio, seconds=entry["duration_seconds"])
            except AudioError:
                return None  # the file is damaged; the page says so
            except OSError as error:
                if faults.is_about_one_file(error):
                    return None  # it was moved or deleted; the page says so
                raise explain(error) from error
            self.place.replace(name, drawn)
        return "./" + urllib.parse.quote(name)


def _view(manifest: Row, entry: Row) -> Row:
    """Returns what the page shows of a clip besides its sound."""
    attempts, primer = entry["attempts"], entry["primer"]
    source = str(primer.get("file") or primer.get("uri") or "none")
    name = entry.get("file", f"clip {entry['index']}")
    state = "left-out" if "file" not in entry else "retried" if len(attempts) > 1 else "passed"
    lines = trace.clip_lines(trace.from_manifest(manifest, entry)) if "file" in entry else []
    earlier_faults = {fault for attempt in attempts for fault in attempt["faults"]}
    return {
        "index": entry["index"],
        "name": name,
        "state": state,
        "faults": entry["health"]["faults"] or sorted(earlier_faults),
        "warnings": entry["health"].get("warnings", []),
        "attempts": len(attempts),
        "flux": entry["health"].get("flux"),
        "level_db": entry["health"].get("level_db"),
        "seed": entry["seed"],
        "loudness": entry.get("loudness_lufs"),
        "seconds": entry.get("duration_seconds"),
        "primer": source.replace("\\", "/").rsplit("/", 1)[-1],
        "primer_source": source,
        "trace": "\n".join(lines),
        "search": " ".join([name, source, str(entry["seed"]), state]).lower(),
        "href": None,
        "picture": None,
        "previous": None,
    }
