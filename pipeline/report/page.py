"""One static page a run: its clips, the model, the data, the lineage, the times.

OUTPUT/index.html          all of it: it opens from a folder or a bucket, with no server
OUTPUT/page/*.webp, *.txt  pictures and lists, loaded when they are looked at

The page runs its own script and style alone (Content-Security-Policy, by their hashes), and every
text on it is escaped: names of files and tags come from strangers.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jinja2
import markupsafe

from audio import contract
from audio.errors import IncompleteError, UsageError
from beam_transforms.card import format_figure
from pipeline.config.sections import MetadataSettings, ReportSettings
from pipeline.report import lineage_layout
from pipeline.report.clips import ClipViews, GenerationRun
from pipeline.report.links import relative
from pipeline.report.model_and_data import data_view, model_view
from pipeline.root import history
from pipeline.root.history import CLIPS, History
from pipeline.root.paths import RUN_SUMMARY, Layout
from storage import files
from storage.outputs import open_output

PAGE = "index.html"
# A page shows at most this many clips; manifest.json lists all of them.
_MAX_CLIPS = 300
_TEMPLATES = pathlib.Path(__file__).with_name("templates")


def write_report(
    *,
    root: str,
    run_ids: Sequence[str],
    output: str,
    settings: ReportSettings,
    metadata: MetadataSettings | None = None,
    clips: str | None = None,
) -> str:
    """Writes a run's page; what is there already and has not changed is not touched.

    Args:
      root: of the pipelines.
      run_ids: the run, or the runs, that the page is about.
      output: where the page goes, local or gs://.
      settings: what it shows.
      metadata: where ML Metadata is.
      clips: the folder of a finished run of generation, local or gs://; none for a training's page.

    Returns:
      The page's path.

    Raises:
      LineageError: there is no ML Metadata below the root.
      IncompleteError: the clips are not a finished run.
      UnwritableError: the page cannot be written.
    """
    store = history.open_metadata(Layout.at(root, metadata).metadata, metadata)
    known = history.history_of_runs(store, run_ids)
    place = open_output(output)
    night = _night(clips) if clips else None
    before = _night_before(store, known, output) if night else None
    manifest = night.manifest if night else None
    page = _render(
        run_ids=run_ids,
        manifest=manifest,
        clips=ClipViews(place).night(night, before, max_clips=_MAX_CLIPS) if night else [],
        n_clips=len(manifest["clips"]) + len(manifest["unhealthy"]) if manifest else 0,
        before=before.path.rstrip("/").rsplit("/", 1)[-1] if before else None,
        manifest_link=_manifest_link(night, output),
        model=model_view(place, known, manifest),
        data=data_view(place, known, manifest),
        steps=[_step(step, run_ids, settings) for step in known.steps],
        lineage=_drawing(known, manifest),
        settings=settings,
    )
    place.replace(PAGE, page.encode("utf-8", "backslashreplace"))
    return f"{place.path}/{PAGE}"


def find_run(root: str, run_id: str | None) -> str:
    """Returns the run of an id, or the newest one.

    Raises:
      UsageError: there is none; or the root is in a bucket, and no run is named.
    """
    if "://" in root:
        if run_id and files.exists(files.join(root, "runs", run_id, RUN_SUMMARY)):
            return run_id
        raise UsageError(f"--run-id: wanted a run below {root}, got {run_id or 'none'}")
    runs = pathlib.Path(root, "runs")
    found = sorted(runs.glob(f"*/{RUN_SUMMARY}"), key=lambda path: path.stat().st_mtime_ns)
    names = [path.parent.name for path in found]
    if run_id in names:
        return str(run_id)
    if run_id or not names:
        raise UsageError(
            f"no run {run_id or ''} below {root}; known: {', '.join(names[-5:]) or 'none'}. "
            "`nocturne run training` and `nocturne run generation` make some."
        )
    return names[-1]


def find_clips(
    root: str, run_id: str, metadata: MetadataSettings | None = None
) -> tuple[str, str] | None:
    """Returns where a run's clips are, and which run made them; None for a run of training.

    A run that found everything in the cache is not the one that made its clips.

    Raises:
      LineageError: there is no ML Metadata below the root.
    """
    store = history.open_metadata(Layout.at(root, metadata).metadata, metadata)
    known = history.history_of_runs(store, [run_id])
    for step in reversed(known.steps):
        for made in step.outputs:
            if made.kind == CLIPS:
                (artifact,) = store.get_artifacts_by_id([made.number])
                return artifact.properties["output"].string_value, step.run
    return None


def _night(clips: str) -> GenerationRun:
    """Reads a finished run's manifest; generator.generate would load TensorFlow for it."""
    content = open_output(clips).read(contract.MANIFEST)
    if content is None:
        raise IncompleteError(f"{clips} holds no finished run: {contract.MANIFEST} is missing.")
    return GenerationRun(path=clips, manifest=json.loads(content))


def _night_before(store: Any, known: History, output: str) -> GenerationRun | None:
    """Returns the newest earlier run of generation whose clips are there, in the page's reach."""
    for path in history.previous_clips(store, known.last_uri(CLIPS) or ""):
        if relative(path, output) is None:
            continue  # in another bucket: it is not copied for this
        try:
            return _night(path)
        except IncompleteError:
            continue  # moved away since
    return None


def _manifest_link(night: GenerationRun | None, output: str) -> str | None:
    return relative(f"{night.path.rstrip('/')}/{contract.MANIFEST}", output) if night else None


def _step(step: history.Step, run_ids: Sequence[str], settings: ReportSettings) -> dict[str, Any]:
    price = settings.price_per_hour
    return {
        **dataclasses.asdict(step),
        "ours": step.run in run_ids,
        "when": time.strftime("%Y-%m-%d %H:%M", time.gmtime(step.started)),
        "cost": None if price is None else step.seconds / 3600 * price,
        "makes": [made.kind.removeprefix("nocturne.") for made in step.outputs],
    }


def _drawing(known: History, manifest: dict[str, Any] | None) -> dict[str, Any]:
    """Returns the lineage as boxes and lines, and as sentences."""
    names = {step.number: str(step.number) for step in known.steps}
    edges = [(names[start], names[end]) for start, end in known.edges()]
    boxes = {names[step.number]: (step.node, f"{_duration(step.seconds)}") for step in known.steps}
    for step in known.steps:
        kinds = {made.kind for made in step.outputs}
        if "Examples" in kinds:
            boxes["audio"] = ("audio files", "")
            edges.append(("audio", names[step.number]))
        if manifest and CLIPS in kinds:
            boxes["clips"] = (f"{len(manifest['clips'])} clips", "")
            edges.append((names[step.number], "clips"))
    drawn = lineage_layout.lay_out(list(boxes), edges)
    return {
        "drawing": drawn,
        "boxes": [
            {"x": x, "y": y, "name": boxes[name][0], "note": boxes[name][1],
             "end": name in ("audio", "clips")}
            for name, (x, y) in drawn.boxes.items()
        ],
        "sentences": [
            (boxes[name][0], [boxes[start][0] for start, end in edges if end == name])
            for name in boxes
        ],
        "box": (lineage_layout.WIDTH, lineage_layout.HEIGHT),
    }  # fmt: skip


def _render(**values: Any) -> str:
    """Fills in the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = {"short": format_figure, "figure": _figure, "duration": _duration, "clock": _clock}
    environment.filters |= filters
    # Our own files: the only text that is not escaped, and the only that the policy lets run.
    style, script = ((_TEMPLATES / name).read_text() for name in ("page.css", "page.js"))
    return environment.get_template("page.html.j2").render(
        style=markupsafe.Markup(style),
        script=markupsafe.Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        figures=contract.FIGURES,
        **values,
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _figure(value: Any) -> str:
    """Returns a figure of an evaluation as text: a number, an interval, or nothing."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return " to ".join(map(_figure, value))
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _duration(seconds: float) -> str:
    """Returns a time as people say it: 0.3 s, 14 s, 2 min 3 s, 1 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _clock(seconds: float) -> str:
    """Returns a position in a clip: 0:12, 61:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
