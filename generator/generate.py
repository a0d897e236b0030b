"""The Beam job: a plan of clips -> audio files, a manifest, and the marker last.

groups -> batches -> GenerateClips --------------------------> manifest.json, COMPLETED
                   see generator/clips.py      when every clip is there
"""

from __future__ import annotations

import collections
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam

from audio import contract
from audio.errors import IncompleteError, InputError, NocturneError, OutputExistsError
from generator.clips import STAGING, cached_model, finished, make_clips, primer_from_file
from generator.inference import BATCH_CLIPS, Model
from generator.manifest import Manifest
from generator.render import vocoder_for
from generator.requests import NO_PRIMER, ClipRequest, GenerateSettings, plan_clips
from storage.outputs import Output, open_output

# The graph of the job names groups of batches: a million clips one by one are more than Dataflow
# takes.
_GROUP_BATCHES = 100


class UnhealthyError(NocturneError):
    """Too many clips of a run have faults."""

    exit_code = 12


class PlanClips(beam.PTransform):
    """Lists the clips of a run, in batches of ClipRequest."""

    def __init__(self, settings: GenerateSettings) -> None:
        super().__init__()
        self._settings = settings

    def expand(self, pipeline: Any) -> Any:
        """Wires the plan."""
        groups = range(0, self._settings.clips, _GROUP_BATCHES * BATCH_CLIPS)
        return (
            pipeline
            | "Groups" >> beam.Create(groups)
            | "Batches" >> beam.FlatMap(_batches, settings=self._settings)
        )


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
      output: a folder for the clips, local or gs://.
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
      ConfigMismatchError: the vocoder was made for another front end.
      UsageError: the vocoder does not make clips that long.
      UnhealthyError: too many clips have faults, in every attempt.
    """
    model = cached_model(model_path)
    vocoder_for(settings, model.audio)
    if settings.primer and settings.primer != NO_PRIMER:
        primer_from_file(settings.primer, model)  # a bad primer ends the run before it begins
    place = open_output(output)
    start(place, model.info["model_id"], settings)
    place.publish(contract.EFFECTIVE_CONFIG, effective_config.encode())
    options = beam.options.pipeline_options.PipelineOptions(list(beam_args))
    with beam.Pipeline(options=options) as pipeline:
        (
            pipeline
            | PlanClips(settings)
            | GenerateClips(model_path=model_path, output=output, settings=settings)
        )
    return _finish(model, place, settings, lineage)


def _batches(first: int, settings: GenerateSettings) -> Iterator[list[ClipRequest]]:
    """Yields the batches of the group that begins with a clip."""
    plan = plan_clips(settings, first=first, count=_GROUP_BATCHES * BATCH_CLIPS)
    for at in range(0, len(plan), BATCH_CLIPS):
        yield plan[at : at + BATCH_CLIPS]


def run_key(model_id: str, settings: GenerateSettings) -> str:
    """Returns what two runs must share to be the same: 12 hex digits."""
    text = json.dumps([model_id, settings.recorded()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def start(place: Output, model_id: str, settings: GenerateSettings) -> None:
    """Checks that an output is new, or holds an unfinished attempt at the same run.

    Raises:
      OutputExistsError: it holds a finished run, another run's clips, or files that are not ours.
    """
    names = place.names(limit=1)
    if names and place.read(contract.COMPLETED) is not None:
        raise OutputExistsError(
            f"{place.path} already holds a finished run. Choose another --output, or remove it."
        )
    key, marker = run_key(model_id, settings), f"{STAGING}/run"
    found = place.read(marker) if names else None
    if found is None:
        if names:
            raise OutputExistsError(
                f"{place.path} is not empty and was not begun by Nocturne. Choose a new --output."
            )
        place.publish(marker, key.encode())
    elif found.decode() != key:
        raise OutputExistsError(
            f"{place.path} holds an unfinished run of another model or with other settings. Finish "
            "it with those, or choose another --output."
        )


def _finish(
    model: Model,
    place: Output,
    settings: GenerateSettings,
    lineage: dict[str, Any] | None,
) -> dict[str, Any]:
    clips: list[dict[str, Any]] = []
    unhealthy: list[dict[str, Any]] = []
    for request in plan_clips(settings):
        entry = finished(place, request)
        if entry is None:
            raise InputError(f"{place.path}: {request.name} is missing or was altered. Run again.")
        (clips if "file" in entry else unhealthy).append(entry)
    if len(unhealthy) > settings.max_unhealthy_share * settings.clips:
        raise _unhealthy(place.path, unhealthy, settings)
    manifest = {
        "format_version": contract.FORMAT_VERSION,
        "run_key": run_key(model.info["model_id"], settings),
        "model": {
            "path": model.path,
            **{key: model.info[key] for key in ("model_id", "fingerprint", "dataset", "train")},
        },
        "audio": model.info["audio"],
        "generate": settings.recorded(),
        "lineage": lineage or {},
        "clips": clips,
        "unhealthy": unhealthy,
    }
    Manifest.model_validate(manifest)
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    place.publish(contract.MANIFEST, text.encode())
    place.publish(contract.COMPLETED, f"{manifest['run_key']}\n".encode())
    place.tidy(STAGING)
    return manifest


def _unhealthy(
    output: str, entries: Sequence[dict[str, Any]], settings: GenerateSettings
) -> UnhealthyError:
    counts = collections.Counter(
        fault for entry in entries for attempt in entry["attempts"] for fault in attempt["faults"]
    )
    faults = ", ".join(f"{name} {count} times" for name, count in counts.most_common())
    return UnhealthyError(
        f"{output}: {len(entries)} of {settings.clips} clips never got well in {settings.attempts} "
        f"attempts ({faults}); at most {settings.max_unhealthy_share:.0%} may. Nothing is marked "
        "as complete. Train a better model, or raise generate.max_unhealthy_share."
    )


def finished_run(*, model_path: str, output: str, settings: GenerateSettings) -> Any | None:
    """Returns the manifest of an output that this very run has finished already, else None.

    Args:
      model_path: as of run.
      output: as of run.
      settings: as of run.
    """
    place = open_output(output)
    if place.read(contract.COMPLETED) is None:
        return None
    manifest = read_manifest(output)
    key = run_key(cached_model(model_path).info["model_id"], settings)
    return manifest if manifest["run_key"] == key else None


def read_manifest(output: str) -> dict[str, Any]:
    """Returns the manifest of a finished run.

    Raises:
      IncompleteError: there is none.
    """
    content = open_output(output).read(contract.MANIFEST)
    if content is None:
        raise IncompleteError(f"{output} holds no finished run: {contract.MANIFEST} is missing.")
    manifest: dict[str, Any] = json.loads(content)
    return manifest
