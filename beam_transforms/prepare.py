"""The Beam job that prepares a dataset: sources, staged records, shards, completion marker.

    sources.jsonl -> StageRecordings -> Plan ------> WriteShards ----> Finish
                     decodes each       one element  concatenates      info, tables,
                     source to a file   for all      staged records    COMPLETED last

Only outcomes, a few hundred bytes for each file, go through Beam's shuffle. Frames go from the
decoder straight to a file. So memory does not grow with the data, and a rerun decodes nothing
twice.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam

from audio import contract
from audio.config import AudioConfig
from audio.errors import OutputExistsError, UnwritableError
from beam_transforms import staging
from beam_transforms.finish import PASSED_OVER, check_finished, finish_dataset
from beam_transforms.plan import Outcome, Plan, plan_dataset
from beam_transforms.settings import PrepareSettings, Reuse, Source
from beam_transforms.shards import json_lines, write_shard
from storage import faults, files
from storage.dataset_files import read_recordings, require_dataset
from storage.locks import LOCK, exclusive

_SOURCES = "sources.jsonl"


class PrepareDataset(beam.PTransform):
    """Prepares a dataset from the sources that start_dataset has listed.

    The output gets its COMPLETED marker only if the share of rejected files is within
    settings.max_rejected_share and at least one recording is left; see check_finished.
    """

    def __init__(
        self,
        *,
        output: str,
        audio: AudioConfig,
        settings: PrepareSettings,
        previous: str | None = None,
        staging_folder: str | None = None,
    ) -> None:
        super().__init__()
        self._output, self._audio, self._settings = output, audio, settings
        self._previous = previous
        self._staging = staging_folder or files.join(output, staging.FOLDER)

    def expand(self, root: Any) -> Any:
        """Adds the job to a pipeline."""
        output, audio, settings = self._output, self._audio, self._settings
        folder = self._staging
        plan = (
            root
            | "ListSources" >> beam.Create([files.join(folder, _SOURCES)])
            | "ReadSources"
            >> beam.FlatMap(lambda path: files.read_text(path).splitlines()).with_output_types(str)
            | "SpreadSources" >> beam.Reshuffle()
            | "StageRecordings"
            >> beam.Map(_stage_line, staging_folder=folder, audio=audio, settings=settings)
            | "GatherOutcomes" >> beam.combiners.ToList()
            | "Plan" >> beam.Map(_plan, settings=settings, previous=self._previous)
        )
        written = (
            plan
            | "Shards" >> beam.FlatMap(lambda p: p.shards if p.is_acceptable(settings) else ())
            | "SpreadShards" >> beam.Reshuffle()
            | "WriteShards" >> beam.Map(write_shard, output=output, staging_folder=folder)
            | "GatherShards" >> beam.combiners.ToList()
        )
        return written | "Finish" >> beam.Map(
            finish_dataset,
            plan=beam.pvalue.AsSingleton(plan),
            output=output,
            staging_folder=folder,
            audio=audio,
            settings=settings,
            previous=self._previous,
        )


def _stage_line(
    line: str, *, staging_folder: str, audio: AudioConfig, settings: PrepareSettings
) -> Outcome:
    """Prepares the source that a line of the list describes, and counts it.

    The shuffle moves lines and not objects because a runner in one process keeps every element.
    """
    row = json.loads(line)
    source, reuse = Source(**row["source"]), Reuse(**row["reuse"]) if row["reuse"] else None
    staged = staging.stage_recording(
        source, staging=staging_folder, audio=audio, settings=settings, reuse=reuse
    )
    name = "recordings" if staged.recording else "rejected"
    beam.metrics.Metrics.counter("prepare", name).inc()
    return Outcome.of(staged)


def _plan(outcomes: Iterable[Outcome], *, settings: PrepareSettings, previous: str | None) -> Plan:
    rows = read_recordings(previous) if previous else ()
    splits = {row["recording_id"]: row["split"] for row in rows}
    return plan_dataset(outcomes, settings=settings, previous=splits)


def _source_rows(
    previous: str | None, sources: Sequence[Source], audio: AudioConfig, settings: PrepareSettings
) -> Iterator[dict[str, Any]]:
    """Yields the rows of sources.jsonl: each source, with its records in an earlier version."""
    recordings = read_recordings(previous) if previous else ()
    rows = {row["key"]: row for row in recordings}
    for source in sources:
        row, reuse = rows.get(source.staging_key(audio, settings)), None
        if row and previous:
            shard = files.join(previous, contract.split_folder(row["split"]), row["shard"])
            reuse = {"shard": shard, "offset": row["offset"], "recording": row}
        yield {"source": dataclasses.asdict(source), "reuse": reuse}


def start_dataset(
    output: str,
    sources: Sequence[Source],
    *,
    audio: AudioConfig,
    settings: PrepareSettings,
    effective_config: str,
    previous: str | None = None,
    staging_folder: str | None = None,
    passed_over: Mapping[str, int] | None = None,
) -> None:
    """Checks an output, removes the shards of a killed attempt, and lists the sources in it.

    The sources are listed in a file because a job's graph has no room for a million names. The
    arguments are those of `submit`, and in addition staging_folder: the path of the folder for
    results of single files, which is in the output by default.

    Raises:
      OutputExistsError: The output has a finished dataset, or files of something else.
      IncompleteError: The earlier version is not finished.
      UnwritableError: The output cannot be written, or its old shards cannot be removed.
    """
    if previous:
        require_dataset(previous)
    _require_free(output)
    files.remove_partial_files(output)
    for split in contract.SPLITS:
        folder = files.join(output, contract.split_folder(split))
        files.remove_tree(folder)
        if files.exists(folder):  # its shards would be taken for part of the new dataset
            raise UnwritableError(f"{folder} cannot be removed. Remove it, and run again.")
    files.write_text(
        files.join(staging_folder or files.join(output, staging.FOLDER), _SOURCES),
        json_lines(list(_source_rows(previous, sources, audio, settings))),
    )
    files.write_text(
        files.join(staging_folder or files.join(output, staging.FOLDER), PASSED_OVER),
        json.dumps(dict(passed_over or {})),
    )
    files.write_text(files.join(output, contract.EFFECTIVE_CONFIG), effective_config)


def _require_free(output: str) -> None:
    """Checks that an output is empty, or has an unfinished dataset.

    Raises:
      OutputExistsError: It has a finished dataset, or files of something else.
    """
    if files.exists(files.join(output, contract.COMPLETED)):
        raise OutputExistsError(
            f"{output} already holds a finished dataset. Choose another --output, or remove it."
        )
    local = None if files.is_remote(output) else pathlib.Path(output)
    if local and local.exists():
        if not local.is_dir():
            raise OutputExistsError(f"{output} is a file; wanted a folder for the dataset.")
        names = {path.name for path in local.iterdir()} - {LOCK}
        if names and staging.FOLDER not in names:
            raise OutputExistsError(
                f"{output} is not empty, and `nocturne prepare` did not start it. Choose a new "
                "--output."
            )


def submit(*, output: str, **job: Any) -> Any:
    """Starts a preparation without waiting for it, as the launcher of a Flex Template must.

    The lock of the output is held only until the job is submitted.

    Args:
      output: Path of a new folder, or of one that an unfinished job left.
      **job: Further arguments of `_start`.

    Returns:
      Beam's PipelineResult.

    Raises:
      OutputExistsError: The output has a finished dataset, or files of something else.
      BusyError: Another process is at work in the output.
    """
    _require_free(output)  # before a lock is put into it
    with exclusive(output):
        return _start(output=output, **job)


def _start(
    *,
    sources: Sequence[Source],
    output: str,
    audio: AudioConfig,
    settings: PrepareSettings,
    effective_config: str = "",
    previous: str | None = None,
    passed_over: Mapping[str, int] | None = None,
    beam_args: Sequence[str] = ("--runner=FnApiRunner",),
) -> Any:
    """Starts a preparation, and returns Beam's PipelineResult.

    Args:
      sources: Input files.
      output: Path of the dataset.
      audio: Front end.
      settings: Settings of the job.
      effective_config: Whole configuration as YAML, which is stored in the dataset.
      previous: Path of an earlier version of the dataset. Its recordings stay in their splits, and
        records of unchanged files are copied from it.
      passed_over: What the inputs have beside the sources, by kind, for dataset_info.json.
      beam_args: Options of the Beam pipeline.
    """
    start_dataset(
        output,
        sources,
        audio=audio,
        settings=settings,
        effective_config=effective_config,
        previous=previous,
        passed_over=passed_over,
    )
    options = beam.options.pipeline_options.PipelineOptions(list(beam_args))
    pipeline = beam.Pipeline(options=options)
    pipeline | PrepareDataset(output=output, audio=audio, settings=settings, previous=previous)
    return pipeline.run()


def run(*, output: str, settings: PrepareSettings, **job: Any) -> dict[str, Any]:
    """Prepares a dataset and returns its info. After a kill, it continues where it stopped.

    The arguments and further errors are those of `submit`.

    Raises:
      InputError: No file could be used.
      TooManyRejectedError: The share of rejected files exceeds settings.max_rejected_share.
      UnwritableError, MachineError: The system failed.
    """
    _require_free(output)  # before a lock is put into it
    with exclusive(output), faults.named(output):
        _start(output=output, settings=settings, **job).wait_until_finish()
        return check_finished(output, settings)
