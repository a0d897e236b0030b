"""The Beam job: a plan of clips -> WAV files, a manifest, and the marker last.

plan -> batches -> GenerateClips --------------------------> manifest.json, COMPLETED
                   rollout, vocoder, health, WAV, entry      when every clip is there
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from audio import contract
from audio.codec import encode_wav, read_mono
from audio.config import AudioConfig
from audio.errors import AudioError, InputError, OutputExistsError
from audio.mel import log_mel
from audio.vocoder import vocode
from generator.health import examine
from generator.inference import BATCH_CLIPS, Model, load_model, roll_out
from generator.publish import publish
from generator.requests import ClipRequest, GenerateSettings, choose_primer, plan_clips

STAGING = ".staging"
# Clips peak at most here, so that a player's resampler has room.
_MAX_PEAK = 0.97


class GenerateClips(beam.PTransform):
    """Makes the clips of a plan, given as lists of ClipRequest, into `output`."""

    def __init__(self, *, model_path: str, output: str, settings: GenerateSettings) -> None:
        super().__init__()
        self._model_path, self._output, self._settings = model_path, output, settings

    def expand(self, batches: Any) -> Any:
        """Wires the job; its result is one manifest entry a clip."""
        return (
            batches
            | "SpreadBatches" >> beam.Reshuffle()
            | "MakeClips"
            >> beam.FlatMap(
                make_clips,
                model_path=self._model_path,
                output=self._output,
                settings=self._settings,
            )
        )


@functools.lru_cache(maxsize=1)
def _model(path: str) -> Model:
    """The model, loaded once per process."""
    return load_model(path)


def make_clips(
    requests: Sequence[ClipRequest], *, model_path: str, output: str, settings: GenerateSettings
) -> Iterator[dict[str, Any]]:
    """Makes the clips of one batch that are not there yet; yields all entries."""
    entries = {request.index: _finished(output, request) for request in requests}
    missing = [request for request in requests if entries[request.index] is None]
    if missing:
        model = _model(model_path)
        primers, sources = _primers(model, missing, settings)
        frames = roll_out(
            model,
            primers,
            seeds=[request.seed for request in missing],
            n_frames=model.audio.frames_for(settings.seconds) + 1,
            temperature=settings.temperature,
        )
        for request, clip, source in zip(missing, frames, sources, strict=True):
            entries[request.index] = _write_clip(
                request, clip, source, model.audio, output, settings
            )
    for request in requests:
        entry = entries[request.index]
        assert entry is not None
        yield entry


def _write_clip(
    request: ClipRequest,
    frames: npt.NDArray[np.float32],
    primer_source: str,
    audio: AudioConfig,
    output: str,
    settings: GenerateSettings,
) -> dict[str, Any]:
    samples = vocode(
        frames, audio, rng=np.random.default_rng(request.seed), iterations=settings.iterations
    )
    samples = samples[: round(settings.seconds * audio.sample_rate)]
    peak = float(np.abs(samples).max())
    gain = min(1.0, _MAX_PEAK / max(peak, 1e-9))
    content = encode_wav(samples * np.float32(gain), sample_rate=audio.sample_rate)
    name = f"{request.name}.wav"
    entry = {
        "index": request.index,
        "file": name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "duration_seconds": len(samples) / audio.sample_rate,
        "sample_rate": audio.sample_rate,
        "seed": request.seed,
        "gain_db": round(20 * float(np.log10(gain)), 3),
        "primer": json.loads(primer_source),
        "health": examine(frames, audio),
    }
    publish(f"{output}/{name}", content)
    publish(_entry_path(output, request), json.dumps(entry, sort_keys=True).encode())
    return entry


def _entry_path(output: str, request: ClipRequest) -> str:
    return f"{output}/{STAGING}/{request.name}.json"


def _finished(output: str, request: ClipRequest) -> dict[str, Any] | None:
    """The entry of a clip that an earlier attempt finished, if its file is still whole."""
    path = pathlib.Path(_entry_path(output, request))
    if not path.exists():
        return None
    entry: dict[str, Any] = json.loads(path.read_text())
    clip = pathlib.Path(output, entry["file"])
    if clip.exists() and hashlib.sha256(clip.read_bytes()).hexdigest() == entry["sha256"]:
        return entry
    return None


def _primers(
    model: Model, requests: Sequence[ClipRequest], settings: GenerateSettings
) -> tuple[npt.NDArray[np.float32], list[str]]:
    if settings.primer:
        frames = primer_from_file(settings.primer, model)
        source = json.dumps({"file": settings.primer})
        return np.stack([frames] * len(requests)), [source] * len(requests)
    chosen = [choose_primer(request.seed, len(model.primers)) for request in requests]
    return model.primers[chosen], [model.primer_sources[index] for index in chosen]


def primer_from_file(path: str, model: Model) -> npt.NDArray[np.float32]:
    """Returns the middle of an audio file as frames, as many as the model's own primers have.

    Raises:
      InputError: there is no such file, it is no audio, or too short.
    """
    try:
        with pathlib.Path(path).open("rb") as file:
            samples = read_mono(
                file,
                sample_rate=model.audio.sample_rate,
                channels=model.audio.channels,
                loudness_lufs=model.audio.loudness_lufs,
            )
    except (OSError, AudioError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"primer {path}: {reason}. Give a readable audio file.") from error
    wanted = model.primers.shape[1]
    frames = log_mel(samples, model.audio) if len(samples) else np.empty((0, model.audio.n_mels))
    if len(frames) < wanted:
        raise InputError(
            f"primer {path}: too short; wanted at least "
            f"{wanted / model.audio.frames_per_second:.1f} s, "
            f"got {len(samples) / model.audio.sample_rate:.1f} s."
        )
    start = (len(frames) - wanted) // 2
    return frames[start : start + wanted].astype(np.float32)


def run(
    *,
    model_path: str,
    output: str,
    settings: GenerateSettings,
    lineage: dict[str, Any] | None = None,
    effective_config: str = "",
    beam_args: Sequence[str] = ("--runner=FnApiRunner",),
) -> dict[str, Any]:
    """Makes a run's clips; a killed run is taken up where it stopped.

    Args:
      model_path: a SavedModel that the trainer exported.
      output: a folder for the clips.
      settings: of the run.
      lineage: where the model's history is written down, for `nocturne trace`.
      effective_config: the whole configuration as YAML, written beside the clips.
      beam_args: options of the Beam pipeline.

    Returns:
      The manifest.

    Raises:
      OutputExistsError: the output holds another finished run, or files of another plan.
      IncompleteError: the model is not whole.
      InputError: the primer file cannot be used.
    """
    model = _model(model_path)
    if settings.primer:
        primer_from_file(settings.primer, model)  # a bad primer ends the run before it begins
    start(output, model.info["model_id"], settings)
    publish(f"{output}/{contract.EFFECTIVE_CONFIG}", effective_config.encode())
    plan = plan_clips(settings)
    batches = [plan[i : i + BATCH_CLIPS] for i in range(0, len(plan), BATCH_CLIPS)]
    options = beam.options.pipeline_options.PipelineOptions(list(beam_args))
    with beam.Pipeline(options=options) as pipeline:
        (
            pipeline
            | "Plan" >> beam.Create(batches)
            | GenerateClips(model_path=model_path, output=output, settings=settings)
        )
    return _finish(model, output, settings, plan, lineage)


def run_key(model_id: str, settings: GenerateSettings) -> str:
    """Returns what two runs must share to be the same: 12 hex digits."""
    text = json.dumps([model_id, dataclasses.asdict(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def start(output: str, model_id: str, settings: GenerateSettings) -> None:
    """Checks that an output is new, or holds an unfinished attempt at the same run.

    Raises:
      OutputExistsError: it holds a finished run, another run's clips, or files that are not ours.
    """
    folder = pathlib.Path(output)
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"{output} is a file; wanted a folder for the clips.")
    if (folder / contract.COMPLETED).exists():
        raise OutputExistsError(
            f"{output} already holds a finished run. Choose another --output, or remove it."
        )
    key = run_key(model_id, settings)
    marker = folder / STAGING / "run"
    if not marker.exists():
        if folder.exists() and any(folder.iterdir()):
            raise OutputExistsError(
                f"{output} is not empty and was not begun by Nocturne. Choose a new --output."
            )
        publish(str(marker), key.encode())
    elif marker.read_text() != key:
        raise OutputExistsError(
            f"{output} holds an unfinished run of another model or with other settings. Finish "
            "it with those, or choose another --output."
        )


def _finish(
    model: Model,
    output: str,
    settings: GenerateSettings,
    plan: Sequence[ClipRequest],
    lineage: dict[str, Any] | None,
) -> dict[str, Any]:
    clips = []
    for request in plan:
        entry = _finished(output, request)
        if entry is None:
            raise InputError(f"{output}: {request.name} is missing or was altered. Run again.")
        clips.append(entry)
    manifest = {
        "format_version": contract.FORMAT_VERSION,
        "run_key": run_key(model.info["model_id"], settings),
        "model": {
            "path": model.path,
            **{key: model.info[key] for key in ("model_id", "fingerprint", "dataset", "train")},
        },
        "audio": model.info["audio"],
        "generate": dataclasses.asdict(settings),
        "lineage": lineage or {},
        "clips": clips,
    }
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    publish(f"{output}/{contract.MANIFEST}", text.encode())
    publish(f"{output}/{contract.COMPLETED}", f"{manifest['run_key']}\n".encode())
    shutil.rmtree(f"{output}/{STAGING}")
    return manifest


def read_manifest(output: str) -> dict[str, Any]:
    """Returns the manifest of a finished run."""
    manifest: dict[str, Any] = json.loads(pathlib.Path(output, contract.MANIFEST).read_text())
    return manifest
