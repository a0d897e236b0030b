"""The model and the data behind a run, as the page shows them."""

from __future__ import annotations

import glob
import json
import pathlib
import posixpath
from typing import Any

import markupsafe
import numpy as np

from audio import contract
from audio.config import AudioConfig
from beam_transforms.examples import read_log_mel
from beam_transforms.sources import format_passed_over
from pipeline.evaluation.figure_table import FIGURES
from pipeline.evaluation.verdict import FIGURES_VERSION, PICTURES, REPORT, fails
from pipeline.report.clips import PAGE_FILES
from pipeline.report.learning_curves import draw_learning_curves
from pipeline.report.links import relative
from pipeline.root.artifacts import read_anomalies, serving_folder
from pipeline.root.history import History
from pipeline.spectrograms import png_to_webp, spectrogram_webp
from storage import files
from storage.dataset_files import RecordingRow, RejectedRow, read_recordings, read_rejected
from storage.outputs import Output

# Length of the held-out recording's picture.
_HELD_OUT_SECONDS = 10
# Number of rejected files that the page lists; a text file beside it lists all of them.
_MAX_REJECTED = 100
Row = dict[str, Any]


def model_view(place: Output, history: History, manifest: Row | None) -> Row:
    """Returns the model section of the page; fields are None if their files were deleted."""
    trained = history.last_uri("Model")
    path = manifest["model"]["path"] if manifest else trained and serving_folder(trained)
    info = _read_json(path, contract.MODEL_INFO) or (manifest["model"] if manifest else None)
    losses = _read_json(path, contract.HISTORY)
    judged = history.last_uri("nocturne.Evaluation")
    evaluation = _read_json(judged, REPORT)
    if manifest and evaluation and evaluation["model_id"] != manifest["model"]["model_id"]:
        judged = evaluation = None  # this evaluation is of another model
    if evaluation and evaluation.get("version") != FIGURES_VERSION:
        evaluation = None  # an earlier version wrote it, with figures of another meaning
    checks = [_check(reason) for reason in evaluation["reasons"]] if evaluation else []
    curves = draw_learning_curves(losses) if losses else None
    return {
        "path": path,
        "info": info,
        "losses": losses,
        "curves": markupsafe.Markup(curves) if curves else None,
        "evaluation": evaluation,
        "checks": checks,
        "figures": _figure_rows(evaluation["figures"]) if evaluation else [],
        "rollouts": _rollouts(place, judged) if judged else [],
    }


def _figure_rows(figures: Row) -> list[Row]:
    """Returns the figures of an evaluation for the table and the strips of the page.

    On a strip the best control is at 0 and real music at 1; `dot`, `low` and `high` are where the
    model and its interval are, at least -0.5.
    """
    rows = []
    scale = figures.get("scale", {})
    for name, figure in FIGURES.items():
        if name not in scale:
            continue
        row = scale[name]
        best, places = row["best_control"], None
        if best is not None:
            places = [max(-0.5, value) for value in (row["place"], *row["interval"])]
        rows.append(
            {
                "title": f"{figure.title}, {figure.unit}" if figure.unit else figure.title,
                **row,
                "control": row["controls"][best] if best else None,
                "fails": fails(row),
                "strip": dict(zip(("dot", "low", "high"), places, strict=True)) if places else None,
            }
        )
    return rows


def _check(reason: str) -> tuple[str, str]:
    """Returns the word of a verdict's line, pass or FAIL, and its text."""
    word, _, text = reason.partition(": ")
    return word, text


def _rollouts(place: Output, evaluation: str) -> list[str]:
    """Copies the evaluator's pictures to the page, and returns the links to them."""
    links = []
    number = posixpath.basename(evaluation)
    for path in files.match(files.join(glob.escape(evaluation), PICTURES, "*.png")):
        stem = posixpath.splitext(posixpath.basename(path))[0]
        name = f"{PAGE_FILES}/evaluation-{number}-{stem}.webp"
        if place.checksum(name) is None:
            with files.open_read(path) as file:
                place.replace(name, png_to_webp(file.read()))
        links.append(f"./{name}")
    return links


def data_view(place: Output, history: History, manifest: Row | None) -> Row | None:
    """Returns the data section of the page, or None, and writes the lists that it links to."""
    path = manifest["model"]["dataset"]["path"] if manifest else history.last_uri("Examples")
    info = _read_json(path, contract.DATASET_INFO)
    if path is None or info is None:
        return None
    recordings, rejected = list(read_recordings(path)), read_rejected(path)
    rejected.sort(key=lambda row: str(row["error"]) == "Duplicate")  # duplicates last
    learned = [row for row in recordings if row["split"] == contract.TRAIN]
    validated = history.last_uri("ExampleAnomalies")
    return {
        "info": info,
        "passed_over": format_passed_over(info.get("passed_over", {})),
        "card": _read_json(path, contract.DATA_CARD),
        "learned": len(learned),
        "minutes": sum(row["duration_seconds"] for row in learned) / 60,
        "anomalies": None if validated is None else read_anomalies(validated),
        "rejected": rejected[:_MAX_REJECTED],
        "n_rejected": len(rejected),
        "recordings_list": _list(place, "recordings.txt", map(_recording_line, recordings)),
        "rejected_list": _list(place, "rejected.txt", map(_rejected_line, rejected)),
        "held_out": _held_out(place, path, info, recordings),
    }


def _list(place: Output, name: str, lines: Any) -> str:
    text = "".join(f"{line}\n" for line in lines)
    place.replace(f"{PAGE_FILES}/{name}", text.encode("utf-8", "backslashreplace"))
    return f"./{PAGE_FILES}/{name}"


def _recording_line(row: RecordingRow) -> str:
    return (
        f"{row['split']:<6} {row['recording_id'][:12]} {row['duration_seconds']:10.1f} s  "
        f"{row['source_uri']}"
    )


def _rejected_line(row: RejectedRow) -> str:
    return f"{row['uri']}: {row['error']}: {row['message']}"


def _held_out(place: Output, dataset: str, info: Row, recordings: list[RecordingRow]) -> Row | None:
    """Draws the start of a held-out recording, as the dataset stores it."""
    row = next((row for row in recordings if row["split"] == contract.EVAL), None)
    if row is None:
        return None
    audio = AudioConfig.from_json(json.dumps(info["audio"]))
    n_frames = min(row["n_frames"], audio.frames_for(_HELD_OUT_SECONDS))
    frames = read_log_mel(dataset, row, audio)[:n_frames]
    name = f"{PAGE_FILES}/held-out-{row['recording_id'][:8]}.webp"
    place.replace(name, spectrogram_webp([frames.astype(np.float32)], audio, n_frames=n_frames))
    source = row["source_uri"]
    exists = not files.is_remote(source) and pathlib.Path(source).is_file()
    return {
        "picture": f"./{name}",
        "source": source,
        "href": relative(source, place.path) if exists else None,
        "seconds": n_frames / audio.frames_per_second,
    }


def _read_json(folder: str | None, name: str) -> Row | None:
    """Returns the content of a file; None if it or its folder was deleted."""
    if folder is None or not files.exists(files.join(folder, name)):
        return None
    content: Row = files.read_json(files.join(folder, name))
    return content
