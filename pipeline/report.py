"""One static page: clips to hear, pictures, the verdict, the data. It needs no server."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import jinja2

from audio import contract
from audio.codec import read_mono
from audio.config import AudioConfig
from audio.mel import log_mel
from beam_transforms.card import short
from pipeline import lineage
from pipeline.pictures import loss_png, spectrogram_png

PAGE = "index.html"
_PICTURES = "pictures"


def write_report(
    folder: str,
    *,
    clips: str,
    model: str,
    dataset: str,
    evaluation: dict[str, Any],
    anomalies: tuple[str, ...],
) -> pathlib.Path:
    """Writes folder/index.html and its pictures.

    Args:
      folder: where the page goes; links are relative to it.
      clips: a finished run of generation.
      model: the model's folder.
      dataset: the dataset's folder.
      evaluation: the Evaluator's verdict as a dictionary.
      anomalies: ExampleValidator's findings.

    Returns:
      The page.
    """
    base = pathlib.Path(folder)
    (base / _PICTURES).mkdir(parents=True, exist_ok=True)
    manifest = _json(clips, contract.MANIFEST)
    history = _json(model, contract.HISTORY)
    audio = AudioConfig.from_json(json.dumps(manifest["audio"]))
    loss_png(base / _PICTURES / "loss.png", history)
    learned = [
        row for row in _lines(dataset, contract.RECORDINGS) if row["split"] == contract.TRAIN
    ]
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            clips=[_clip(base, clips, entry, audio) for entry in manifest["clips"]],
            model=manifest["model"],
            learned=learned,
            minutes=sum(row["duration_seconds"] for row in learned) / 60,
            held_out=_held_out(base, dataset, audio),
            evaluation=evaluation,
            anomalies=anomalies,
            data=_json(dataset, contract.DATASET_INFO),
            card=_json(dataset, contract.DATA_CARD),
            figures=contract.FIGURES,
            rejected=_lines(dataset, contract.REJECTED),
            history=history,
            loss_picture=f"{_PICTURES}/loss.png",
        )
    )
    path = base / PAGE
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


def _environment() -> jinja2.Environment:
    templates = jinja2.PackageLoader("pipeline", "templates")
    environment = jinja2.Environment(
        loader=templates, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["short"] = short
    environment.filters["figure"] = _figure
    return environment


def _figure(value: Any) -> str:
    """Returns a figure of an evaluation as text: a number, an interval, or nothing."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return " to ".join(map(_figure, value))
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _clip(
    base: pathlib.Path, clips: str, entry: dict[str, Any], audio: AudioConfig
) -> dict[str, Any]:
    path = pathlib.Path(clips, entry["file"])
    picture = f"{_PICTURES}/{path.stem}.png"
    with path.open("rb") as file:
        frames = log_mel(read_mono(file, sample_rate=audio.sample_rate), audio)
    spectrogram_png(base / picture, frames, audio)
    return {
        **entry,
        "href": os.path.relpath(path.resolve(), base.resolve()),
        "picture": picture,
        "trace": "\n".join(lineage.render(lineage.trace(str(path)))),
    }


def _held_out(base: pathlib.Path, dataset: str, audio: AudioConfig) -> dict[str, str] | None:
    """Draws up to ten seconds of a held-out recording, as the dataset stores it."""
    from trainer.dataset import longest_stretch, open_dataset, primers

    opened = open_dataset(dataset)
    n_frames = min(audio.frames_for(10), longest_stretch(opened, contract.EVAL))
    if n_frames == 0:
        return None
    (found,) = primers(opened, n_frames=n_frames, count=1)
    picture = f"{_PICTURES}/held-out.png"
    spectrogram_png(base / picture, found.log_mel, audio)
    return {"picture": picture, "uri": json.loads(found.source)["uri"]}


def _json(folder: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(pathlib.Path(folder, name).read_text())
    return content


def _lines(folder: str, name: str) -> list[dict[str, Any]]:
    text = pathlib.Path(folder, name).read_text()
    return [json.loads(line) for line in text.splitlines()]
