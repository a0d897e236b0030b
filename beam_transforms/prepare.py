"""The Beam job: sources -> staged records -> shards -> a dataset with its marker.

    sources.jsonl -> StageRecordings -> Plan ----> WriteShards -> Finish
                     one file a source   one element   concatenates  info, tables,
                     (decode, log-mel)   for all       staged files  COMPLETED last

Only outcomes (a few hundred bytes a file) pass through Beam's shuffle; frames go from the decoder
to a file at once. So memory does not grow with the data, and a rerun decodes nothing twice.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam

from audio import contract
from audio.config import AudioConfig
from audio.errors import InputError, OutputExistsError, TooManyRejectedError
from beam_transforms import staging
from beam_transforms.card import data_card
from beam_transforms.plan import Outcome, Plan, plan_dataset
from beam_transforms.settings import PrepareSettings, Reuse, Source
from beam_transforms.shards import Written, rows_of, write_shard
from storage import files
from storage.dataset_files import read_info, read_recordings, require_dataset

_SOURCES = "sources.jsonl"
_FAILED = "failed.json"


class PrepareDataset(beam.PTransform):
    """Prepares the sources listed below `output` (see write_sources) into a dataset there.

    The output is readable, that is marked COMPLETED, only where the share of rejected files is
    within settings.max_rejected_share and a recording is left; see check_finished.
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
        """Wires the job onto a pipeline's root."""
        output, audio, settings = self._output, self._audio, self._settings
        folder = self._staging
        plan = (
            root
            | "ListSources" >> beam.Create([files.join(folder, _SOURCES)])
            | "ReadSources" >> beam.FlatMap(_read_lines).with_output_types(str)
            | "SpreadSources" >> beam.Reshuffle()
            | "StageRecordings"
            >> beam.Map(
                stage_counted,
                staging_folder=folder,
                audio=audio,
                settings=settings,
            )
            | "GatherOutcomes" >> beam.combiners.ToList()
            | "Plan" >> beam.Map(plan_after, settings=settings, previous=self._previous)
        )
        written = (
            plan
            | "Shards" >> beam.FlatMap(lambda p: p.shards if acceptable(p, settings) else ())
            | "SpreadShards" >> beam.Reshuffle()
            | "WriteShards" >> beam.Map(write_shard, output=output, staging_folder=folder)
            | "GatherShards" >> beam.combiners.ToList()
        )
        return written | "Finish" >> beam.Map(
            finish,
            plan=beam.pvalue.AsSingleton(plan),
            output=output,
            staging_folder=folder,
            audio=audio,
            settings=settings,
            previous=self._previous,
        )


def stage_counted(
    line: str,
    *,
    staging_folder: str,
    audio: AudioConfig,
    settings: PrepareSettings,
) -> Outcome:
    """stage_recording of a line of the list of sources, with Beam counters.

    Lines go through the shuffle and not objects: a runner in one process keeps every element.
    """
    row = json.loads(line)
    source, reuse = Source(**row["source"]), Reuse(**row["reuse"]) if row["reuse"] else None
    staged = staging.stage_recording(
        source, staging=staging_folder, audio=audio, settings=settings, reuse=reuse
    )
    name = "recordings" if staged.recording else "rejected"
    beam.metrics.Metrics.counter("prepare", name).inc()
    return Outcome.of(staged)


def plan_after(
    outcomes: Iterable[Outcome], *, settings: PrepareSettings, previous: str | None
) -> Plan:
    """plan_dataset, with the splits of an earlier version of the dataset."""
    rows = read_recordings(previous) if previous else ()
    splits = {row["recording_id"]: row["split"] for row in rows}
    return plan_dataset(outcomes, settings=settings, previous=splits)


def acceptable(plan: Plan, settings: PrepareSettings) -> bool:
    """Whether a plan may become a dataset: enough files were good."""
    return bool(plan.n_recordings) and plan.n_failed <= settings.max_rejected_share * plan.n_sources


def finish(
    written: Sequence[Written],
    *,
    plan: Plan,
    output: str,
    staging_folder: str,
    audio: AudioConfig,
    settings: PrepareSettings,
    previous: str | None = None,
) -> int:
    """Writes the tables and, where the dataset is good, its info, its card and its marker.

    Returns:
      How many shards the dataset has.
    """
    rejected = files.join(output, contract.REJECTED)
    files.write_text(rejected, _json_lines(plan.rejected))
    written = sorted(written, key=lambda one: (contract.SPLITS.index(one.split), one.name))
    info = dataset_info(plan, written, audio=audio, settings=settings)
    if not acceptable(plan, settings):
        files.write_text(files.join(staging_folder, _FAILED), json.dumps(info))
        return 0
    audit(plan, written, output)
    with files.atomic_file(files.join(output, contract.RECORDINGS)) as target:
        for line in rows_of(written, staging_folder):
            target.write(line.encode("utf-8", "surrogateescape"))
    before = read_recordings(previous) if previous else None
    card = data_card(read_recordings(output), previous=before)
    for name, content in ((contract.DATASET_INFO, info), (contract.DATA_CARD, card)):
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        files.write_text(files.join(output, name), text)
    files.write_text(files.join(output, contract.COMPLETED), plan.dataset_id + "\n")
    return len(written)


def dataset_info(
    plan: Plan, written: Sequence[Written], *, audio: AudioConfig, settings: PrepareSettings
) -> dict[str, Any]:
    """Returns what dataset_info.json holds: configuration, counts and sums, no clock."""
    splits = {}
    for split in contract.SPLITS:
        shards = [shard for shard in plan.shards if shard.split == split]
        mine = [one for one in written if one.split == split]
        splits[split] = {
            "recordings": sum(len(shard.recordings) for shard in shards),
            "seconds": round(sum(one.seconds for one in mine), 3),
            "frames": sum(one.frames for one in mine),
            "records": sum(one.records for one in mine),
            "bytes": sum(shard.n_bytes for shard in shards),
            "shards": len(shards),
        }
    return {
        "format_version": contract.FORMAT_VERSION,
        "dataset_id": plan.dataset_id,
        "fingerprint": audio.fingerprint,
        "audio": json.loads(audio.to_json()),
        "prepare": dataclasses.asdict(settings),
        "splits": splits,
        "sources": plan.n_sources,
        "rejected": plan.n_failed,
        "duplicates": len(plan.rejected) - plan.n_failed,
    }


def audit(plan: Plan, written: Sequence[Written], output: str) -> None:
    """Holds what was written against what was planned, before it is called finished.

    A recording's id is a hash of its PCM, so one id in two places is the same audio twice.

    Raises:
      RuntimeError: a recording stands in two shards or two splits, or not in its own, or a shard is
        not as long as its records; that is a fault of ours, and the dataset stays without its
        marker.
    """
    planned = {
        (shard.split, shard.name, placed.recording_id)
        for shard in plan.shards
        for placed in shard.recordings
    }
    found = [(one.split, one.name, name) for one in written for name in one.recording_ids]
    places = collections.Counter(name for _, _, name in found)
    twice = sorted(name for name, count in places.items() if count > 1)
    if twice:
        raise RuntimeError(f"leakage: recording {twice[0]} stands in {places[twice[0]]} shards")
    if planned != set(found):
        wrong = min(planned.symmetric_difference(found))
        raise RuntimeError(
            f"leakage: recording {wrong[2]} is not where it was planned: {wrong[:2]}"
        )
    for shard in plan.shards:
        path = files.join(output, contract.split_folder(shard.split), shard.name)
        size = files.size(path)
        if size != shard.n_bytes:
            raise RuntimeError(f"{path}: wanted {shard.n_bytes} bytes, found {size}")


def _json_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)


def _read_lines(path: str) -> Iterator[str]:
    yield from files.read_text(path).splitlines()


def _reusable(
    previous: str | None, sources: Sequence[Source], audio: AudioConfig, settings: PrepareSettings
) -> list[dict[str, Any]]:
    """Returns the lines of the list of sources: each with what an earlier version has of it."""
    recordings = read_recordings(previous) if previous else ()
    rows: dict[str, Any] = {row["key"]: row for row in recordings}
    lines = []
    for source in sources:
        row, reuse = rows.get(source.staging_key(audio, settings)), None
        if row and previous:
            split = contract.split_folder(row["split"])
            reuse = {
                "shard": files.join(previous, split, row["shard"]),
                "offset": row["offset"],
                "recording": {name: row[name] for name in staging.RECORDING_FIELDS},
            }
        lines.append({"source": dataclasses.asdict(source), "reuse": reuse})
    return lines


def start(
    output: str,
    sources: Sequence[Source],
    *,
    audio: AudioConfig,
    settings: PrepareSettings,
    effective_config: str,
    previous: str | None = None,
    staging_folder: str | None = None,
) -> None:
    """Makes an output ready for the job: checks it, clears a killed attempt's shards.

    The configuration is written beside what it will make. The list of sources goes into a file,
    because a job's graph has no room for a million names.

    Args:
      output: the dataset to be.
      sources: the input files.
      audio: the front end.
      settings: of the job.
      effective_config: the whole configuration as YAML.
      previous: an earlier version of the dataset.
      staging_folder: where results of single files are kept until the dataset is finished; below
        the output unless given.

    Raises:
      OutputExistsError: the output holds a finished dataset, or files that are not ours.
      IncompleteError: the earlier version is not finished.
    """
    if previous:
        require_dataset(previous)
    if files.exists(files.join(output, contract.COMPLETED)):
        raise OutputExistsError(
            f"{output} already holds a finished dataset. Choose another --output, or remove it."
        )
    local = None if files.is_remote(output) else pathlib.Path(output)
    if local and local.exists():
        if not local.is_dir():
            raise OutputExistsError(f"{output} is a file; wanted a folder for the dataset.")
        if any(local.iterdir()) and not (local / staging.FOLDER).exists():
            raise OutputExistsError(
                f"{output} is not empty and was not begun by `nocturne prepare`. Choose a new "
                "--output."
            )
    for split in contract.SPLITS:
        files.remove_tree(files.join(output, contract.split_folder(split)))
    files.write_text(
        files.join(staging_folder or files.join(output, staging.FOLDER), _SOURCES),
        _json_lines(_reusable(previous, sources, audio, settings)),
    )
    files.write_text(files.join(output, contract.EFFECTIVE_CONFIG), effective_config)


def check_finished(
    output: str, settings: PrepareSettings, *, staging_folder: str | None = None
) -> dict[str, Any]:
    """Returns the dataset's info after the job, and clears the staging folder.

    Raises:
      InputError: no file could be used.
      TooManyRejectedError: more than settings.max_rejected_share could not.
    """
    folder = staging_folder or files.join(output, staging.FOLDER)
    if files.exists(files.join(output, contract.COMPLETED)):
        files.remove_tree(folder)
        return read_info(output)
    info = files.read_json(files.join(folder, _FAILED))
    failed, total = info["rejected"], info["sources"]
    table = files.join(output, contract.REJECTED)
    if not any(split["recordings"] for split in info["splits"].values()):
        raise InputError(f"none of {total} files could be used. Why: {table}")
    raise TooManyRejectedError(
        f"{failed} of {total} files were rejected, more than prepare.max_rejected_share="
        f"{settings.max_rejected_share:g} allows. Why: {table}. Mend or remove them, or raise the "
        "share; a rerun decodes only what changed."
    )


def submit(
    *,
    sources: Sequence[Source],
    output: str,
    audio: AudioConfig,
    settings: PrepareSettings,
    effective_config: str = "",
    previous: str | None = None,
    beam_args: Sequence[str] = ("--runner=FnApiRunner",),
) -> Any:
    """Starts a preparation and does not wait for it: what a template's launcher needs.

    Args:
      sources: the input files.
      output: a new folder, or one that an unfinished run left.
      audio: the front end.
      settings: of the job.
      effective_config: the whole configuration as YAML, written beside the dataset.
      previous: an earlier version of the dataset: what it placed stays in its split, and what
        has not changed is copied from it instead of decoded.
      beam_args: options of the Beam pipeline.

    Returns:
      Beam's PipelineResult.

    Raises:
      OutputExistsError: the output holds a finished dataset, or files that are not ours.
    """
    start(
        output,
        sources,
        audio=audio,
        settings=settings,
        effective_config=effective_config,
        previous=previous,
    )
    options = beam.options.pipeline_options.PipelineOptions(list(beam_args))
    pipeline = beam.Pipeline(options=options)
    pipeline | PrepareDataset(output=output, audio=audio, settings=settings, previous=previous)
    return pipeline.run()


def run(*, output: str, settings: PrepareSettings, **job: Any) -> dict[str, Any]:
    """Submits a preparation, waits, and returns the content of dataset_info.json.

    A killed run is taken up where it stopped. The arguments are those of `submit`.

    Raises:
      OutputExistsError: as submit.
      InputError: no file could be used.
      TooManyRejectedError: too many files could not.
    """
    submit(output=output, settings=settings, **job).wait_until_finish()
    return check_finished(output, settings)
