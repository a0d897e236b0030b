"""The Beam job that generates clips: audio files, their manifest, and the completion marker.

groups -> batches -> GenerateClips --------------------------> manifest.json, COMPLETED
                   see generator/clips.py      once all clips exist
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
from generator.clips import STAGING, cached_model, make_clips, read_finished, read_primer
from generator.inference import BATCH_CLIPS, Model
from generator.manifest import Manifest
from generator.render import choose_vocoder
from generator.requests import NO_PRIMER, ClipRequest, GenerateSettings, plan_clips
from storage import faults
from storage.locks import LOCK, exclusive
from storage.outputs import Output, open_output

# Number of batches for which the job's graph has one element: a million clips, one by one, would be
# more than Dataflow accepts.
_GROUP_BATCHES = 100
# File of an unfinished run with its key.
_RUN = f"{STAGING}/run"


class UnhealthyError(NocturneError):
    """Too many clips of a run have faults in every attempt."""

    exit_code = 12


class GenerateClips(beam.PTransform):
    """Makes the clips of a run, and yields their manifest entries."""

    def __init__(self, *, model_path: str, output: str, settings: GenerateSettings) -> None:
        super().__init__()
        self._model_path, self._output, self._settings = model_path, output, settings

    def expand(self, root: Any) -> Any:
        """Adds the job to a pipeline."""
        groups = range(0, self._settings.clips, _GROUP_BATCHES * BATCH_CLIPS)
        return (
            root
            | "Groups" >> beam.Create(groups)
            | "Batches" >> beam.FlatMap(_batches, settings=self._settings)
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
    verdict: str | None = None,
    effective_config: str = "",
    beam_args: Sequence[str] = ("--runner=FnApiRunner",),
) -> dict[str, Any]:
    """Generates the clips of a run. After a kill, it continues where it stopped.

    Args:
      model_path: Folder of a SavedModel that the trainer exported.
      output: Folder for the clips, local or gs://.
      settings: Settings of the run.
      lineage: Where ML Metadata has the model's history, for `nocturne trace`.
      verdict: Verdict on the model, for the manifest, if a pipeline knows it.
      effective_config: Whole configuration as YAML, which is stored in the output.
      beam_args: Options of the Beam pipeline.

    Returns:
      The manifest.

    Raises:
      OutputExistsError: The output has a finished run, or files of something else.
      IncompleteError: A part of the model is missing or damaged.
      InputError: The primer file cannot be used.
      ConfigMismatchError: The vocoder was made for another front end.
      UsageError: The vocoder does not make clips that long.
      UnhealthyError: Too many clips have faults in every attempt.
      BusyError: Another process is at work in the output.
      UnwritableError, MachineError: The system failed.
    """
    model = cached_model(model_path)
    # A vocoder or primer that cannot be used ends the run before it writes anything.
    choose_vocoder(settings, model.audio)
    if settings.primer and settings.primer != NO_PRIMER:
        read_primer(settings.primer, model)
    folder = open_output(output)
    model_id = model.info["model_id"]
    require_free(folder, model_id, settings)  # before a lock is put into it
    with exclusive(output), faults.named(output):
        start_run(folder, model_id, settings)
        folder.publish(contract.EFFECTIVE_CONFIG, effective_config.encode())
        options = beam.options.pipeline_options.PipelineOptions(list(beam_args))
        with beam.Pipeline(options=options) as pipeline:
            pipeline | GenerateClips(model_path=model_path, output=output, settings=settings)
        return _finish_run(model, folder, settings, lineage, verdict)


def _batches(first: int, settings: GenerateSettings) -> Iterator[list[ClipRequest]]:
    """Yields the batches of the group of clips whose first one has that index."""
    clips = plan_clips(settings, first=first, count=_GROUP_BATCHES * BATCH_CLIPS)
    for start in range(0, len(clips), BATCH_CLIPS):
        yield clips[start : start + BATCH_CLIPS]


def run_key(model_id: str, settings: GenerateSettings) -> str:
    """Returns a hash of all that determines the clips of a run, 12 hex digits."""
    text = json.dumps([model_id, settings.recorded()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def start_run(folder: Output, model_id: str, settings: GenerateSettings) -> None:
    """Marks an output as that of a run, after the checks of require_free."""
    require_free(folder, model_id, settings)
    folder.publish(_RUN, run_key(model_id, settings).encode())


def require_free(folder: Output, model_id: str, settings: GenerateSettings) -> None:
    """Checks that an output is empty, or has an unfinished attempt at the same run.

    Raises:
      OutputExistsError: It has a finished run, an unfinished other one, or files of something else.
    """
    names = folder.list_names(limit=3)
    if names and folder.read(contract.COMPLETED) is not None:
        raise OutputExistsError(
            f"{folder.path} already holds a finished run. Choose another --output, or remove it."
        )
    earlier = folder.read(_RUN) if names else None
    others = [name for name in names if name != LOCK and not name.startswith(STAGING)]
    if earlier is None and others:
        raise OutputExistsError(
            f"{folder.path} is not empty, and Nocturne did not start it. Choose a new --output."
        )
    if earlier is not None and earlier.decode() != run_key(model_id, settings):
        raise OutputExistsError(
            f"{folder.path} holds an unfinished run of another model or with other settings. "
            "Finish it with those, or choose another --output."
        )


def _finish_run(
    model: Model,
    folder: Output,
    settings: GenerateSettings,
    lineage: dict[str, Any] | None,
    verdict: str | None,
) -> dict[str, Any]:
    clips: list[dict[str, Any]] = []
    unhealthy: list[dict[str, Any]] = []
    for request in plan_clips(settings):
        entry = read_finished(folder, request)
        if entry is None:
            raise InputError(
                f"{folder.path}: {request.name} is missing or was changed. Run the same command "
                "again."
            )
        (clips if "file" in entry else unhealthy).append(entry)
    if len(unhealthy) > settings.max_unhealthy_share * settings.clips:
        raise _unhealthy_error(folder.path, unhealthy, settings)
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
        "verdict": verdict,
        "warnings": dict(
            collections.Counter(text for clip in clips for text in clip["health"]["warnings"])
        ),
        "clips": clips,
        "unhealthy": unhealthy,
    }
    Manifest.model_validate(manifest)
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    folder.publish(contract.MANIFEST, text.encode())
    folder.publish(contract.COMPLETED, f"{manifest['run_key']}\n".encode())
    folder.remove_unfinished(STAGING)
    return manifest


def _unhealthy_error(
    output: str, entries: Sequence[dict[str, Any]], settings: GenerateSettings
) -> UnhealthyError:
    counts = collections.Counter(
        fault for entry in entries for attempt in entry["attempts"] for fault in attempt["faults"]
    )
    listed = ", ".join(f"{name} {count} times" for name, count in counts.most_common())
    return UnhealthyError(
        f"{output}: {len(entries)} of {settings.clips} clips had faults in all "
        f"{settings.attempts} attempts ({listed}); at most {settings.max_unhealthy_share:.0%} may. "
        "The run is not complete. Train a better model, or raise generate.max_unhealthy_share."
    )


def read_finished_run(*, model_path: str, output: str, settings: GenerateSettings) -> Any | None:
    """Returns the manifest of a run, with arguments as those of `run`; None if not finished."""
    if open_output(output).read(contract.COMPLETED) is None:
        return None
    manifest = read_manifest(output)
    key = run_key(cached_model(model_path).info["model_id"], settings)
    return manifest if manifest["run_key"] == key else None


def read_manifest(output: str) -> dict[str, Any]:
    """Returns the manifest of a finished run.

    Raises:
      IncompleteError: The output has no manifest.
    """
    content = open_output(output).read(contract.MANIFEST)
    if content is None:
        raise IncompleteError(f"{output} holds no finished run: {contract.MANIFEST} is missing.")
    manifest: dict[str, Any] = json.loads(content)
    return manifest
