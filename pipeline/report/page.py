"""One static page for each run: its clips, model, data, lineage and times.

OUTPUT/index.html          everything; opens from a folder or a bucket, without a server
OUTPUT/page/*.webp, *.txt  pictures and lists, which the browser loads when they come into view

The page's Content-Security-Policy allows only its own script and style, by their hashes, and every
text is escaped, because names of files and tags can come from strangers.
"""

from __future__ import annotations

import base64
import dataclasses
import graphlib
import hashlib
import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import markupsafe

from audio import contract
from audio.errors import IncompleteError, UsageError
from beam_transforms.card import format_figure
from pipeline.config.sections import MetadataSettings, ReportSettings
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
    """Writes the page of a run. Files that are there already and have not changed are not touched.

    Args:
      root: The pipeline root.
      run_ids: The run, or the runs, that the page is about.
      output: Folder for the page, local or gs://.
      settings: What the page shows.
      metadata: Where ML Metadata is.
      clips: Folder of a finished generation run, local or gs://; None for a training run.

    Returns:
      The path of the page.

    Raises:
      LineageError: There is no ML Metadata below the root.
      IncompleteError: The clips are not a finished run.
      UnwritableError: The page cannot be written.
    """
    store = history.open_metadata(Layout.at(root, metadata).metadata, metadata)
    lineage = history.history_of_runs(store, run_ids)
    place = open_output(output)
    run = _read_run(clips) if clips else None
    previous = _previous_run(store, lineage, output) if run else None
    manifest = run.manifest if run else None
    page = _render(
        run_ids=run_ids,
        manifest=manifest,
        clips=ClipViews(place).of_run(run, previous, max_clips=_MAX_CLIPS) if run else [],
        n_clips=len(manifest["clips"]) + len(manifest["unhealthy"]) if manifest else 0,
        previous=previous.path.rstrip("/").rsplit("/", 1)[-1] if previous else None,
        manifest_link=_manifest_link(run, output),
        model=model_view(place, lineage, manifest),
        data=data_view(place, lineage, manifest),
        steps=[_step(step, run_ids, settings) for step in lineage.steps],
        rows=_lineage_rows(lineage, manifest),
        settings=settings,
    )
    place.replace(PAGE, page.encode("utf-8", "backslashreplace"))
    return f"{place.path}/{PAGE}"


def find_run(root: str, run_id: str | None) -> str:
    """Returns the id of a run below a pipeline root; that of the newest if none is given.

    Raises:
      UsageError: There is no such run, or the root is in a bucket and no run is named.
    """
    if files.is_remote(root):
        if run_id and files.exists(files.join(root, "runs", run_id, RUN_SUMMARY)):
            return run_id
        raise UsageError(f"--run-id: wanted a run below {root}, got {run_id or 'none'}")
    summaries = pathlib.Path(root, "runs").glob(f"*/{RUN_SUMMARY}")
    oldest_first = sorted(summaries, key=lambda path: path.stat().st_mtime_ns)
    names = [path.parent.name for path in oldest_first]
    if run_id in names:
        return str(run_id)
    if not names:
        raise UsageError(
            f"--root: {root} is not a pipeline root with finished runs. Give the --root of "
            "`nocturne run`; that of `nocturne demo` is the folder `pipeline` in the demo's root."
        )
    if run_id:
        raise UsageError(f"--run-id: no run {run_id} below {root}; known: {', '.join(names[-5:])}")
    return names[-1]


def find_clips(
    root: str, run_id: str, metadata: MetadataSettings | None = None
) -> tuple[str, str] | None:
    """Returns the folder of a run's clips and the run that made them; None for a training run.

    The two runs differ if the clips came from the cache.

    Raises:
      LineageError: There is no ML Metadata below the root.
    """
    store = history.open_metadata(Layout.at(root, metadata).metadata, metadata)
    for step in reversed(history.history_of_runs(store, [run_id]).steps):
        for made in step.outputs:
            if made.kind == CLIPS:
                (artifact,) = store.get_artifacts_by_id([made.number])
                return artifact.properties["output"].string_value, step.run
    return None


def _read_run(clips: str) -> GenerationRun:
    """Reads the manifest of a finished run. generator.generate would load TensorFlow for it."""
    content = open_output(clips).read(contract.MANIFEST)
    if content is None:
        raise IncompleteError(f"{clips} holds no finished run: {contract.MANIFEST} is missing.")
    return GenerationRun(path=clips, manifest=json.loads(content))


def _previous_run(store: Any, lineage: History, output: str) -> GenerationRun | None:
    """Returns the newest earlier generation run whose clips the page can link to."""
    for path in history.previous_clips(store, lineage.last_uri(CLIPS) or ""):
        if relative(path, output) is None:
            continue  # in another bucket; the clips are not copied for a comparison
        try:
            return _read_run(path)
        except IncompleteError:
            continue  # the clips were moved or deleted
    return None


def _manifest_link(run: GenerationRun | None, output: str) -> str | None:
    return relative(f"{run.path.rstrip('/')}/{contract.MANIFEST}", output) if run else None


def _step(step: history.Step, run_ids: Sequence[str], settings: ReportSettings) -> dict[str, Any]:
    price = settings.price_per_hour
    return {
        **dataclasses.asdict(step),
        "earlier": step.run not in run_ids,
        "when": time.strftime("%Y-%m-%d %H:%M", time.gmtime(step.started)),
        "cost": None if price is None else step.seconds / 3600 * price,
        "makes": [made.kind.removeprefix("nocturne.") for made in step.outputs],
    }


def _lineage_rows(lineage: History, manifest: dict[str, Any] | None) -> list[list[dict[str, Any]]]:
    """Returns the lineage as rows of boxes; every box is below all that it was made from."""
    labels: dict[Any, tuple[str, str]] = {}
    sources: dict[Any, list[Any]] = {}
    for step in lineage.steps:
        labels[step.number] = (step.node, _duration(step.seconds))
        sources[step.number] = []
    for start, end in lineage.edges():
        sources[end].append(start)
    for step in lineage.steps:
        kinds = {made.kind for made in step.outputs}
        if "Examples" in kinds:
            labels["audio"] = ("audio files", "")
            sources[step.number].append("audio")
        if manifest and CLIPS in kinds:
            labels["clips"] = (f"{len(manifest['clips'])} clips", "")
            sources["clips"] = [step.number]
    return [
        [
            {
                "name": labels[key][0],
                "time": labels[key][1],
                "sources": [labels[source][0] for source in sources.get(key, [])],
            }
            for key in row
        ]
        for row in rows_of(sources)
    ]


def rows_of(sources: Mapping[Any, Sequence[Any]]) -> list[list[Any]]:
    """Returns the nodes of a graph in rows: each node is in the first row below all its sources.

    Raises:
      graphlib.CycleError: A node is one of its own sources.
    """
    sorter = graphlib.TopologicalSorter(sources)
    sorter.prepare()
    rows = []
    while sorter.is_active():
        rows.append(list(sorter.get_ready()))
        sorter.done(*rows[-1])
    return rows


def _render(**values: Any) -> str:
    """Returns the page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = {"short": format_figure, "figure": _figure, "duration": _duration, "clock": _clock}
    environment.filters |= filters
    # The package's own files are not escaped, and the policy allows only these two.
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
