"""`nocturne run` as functions: the two TFX pipelines, or one node of them."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audio import contract
from audio.errors import NotBlessedError, OutputExistsError, UsageError
from pipeline.config.beam_options import check_beam_args
from pipeline.config.load import Config
from pipeline.console.terminal import Console
from pipeline.root.paths import Layout
from storage import files

if TYPE_CHECKING:
    from pipeline.runs.results import TrainingResult
    from pipeline.runs.summary import NodeRun

# The only node that reads --input.
INPUT_NODE = "AudioExampleGen"
# The only node that writes to --output.
OUTPUT_NODE = "BatchGenerator"
# If a training run is run node by node, its page is written after this node.
TRAINING_PAGE_NODE = "Pusher"


def run_training(
    console: Console, inputs: Sequence[str], root: str, config: Config, *, run_id: str
) -> TrainingResult:
    """Runs the training pipeline; a run with the same id continues where it stopped.

    A model that is refused is kept, but not pushed; see require_blessed.

    Args:
      console: Console that shows the nodes.
      inputs: Paths of audio files, folders or globs.
      root: The pipeline root.
      config: The configuration.
      run_id: Id of the run.

    Raises:
      InputError: There is no audio.
      UsageError: The run was begun with another configuration.
    """
    layout = Layout.at(root, config.metadata)
    nodes = _run_training_nodes(console, inputs, layout, config, run_id=run_id)
    from pipeline.commands import stages
    from pipeline.runs import results

    result = results.training_result(layout, nodes)
    write_page(console, layout.root, run_id, config)
    stages.print_rejected(console, result.dataset)
    stages.print_damaged(console, result.dataset)
    for anomaly in result.anomalies:
        console.line(f"  data: {anomaly}")
    _print_verdict(console, result.evaluation)
    return result


def run_training_node(
    console: Console, inputs: Sequence[str], root: str, config: Config, *, run_id: str, node: str
) -> None:
    """Runs one node of the training pipeline, for a scheduler such as Airflow.

    Only AudioExampleGen reads the inputs.

    Raises:
      InputError: There is no audio.
      UsageError: The node is unknown, or the run was begun with another configuration.
      IncompleteError: A node that it depends on has not run in this run.
      BusyError: The node is running in another process.
    """
    used = inputs if node == INPUT_NODE else ()
    layout = Layout.at(root, config.metadata)
    _run_training_nodes(console, used, layout, config, run_id=run_id, only=node)
    if node == TRAINING_PAGE_NODE:
        write_page(console, layout.root, run_id, config)


def _run_training_nodes(
    console: Console,
    inputs: Sequence[str],
    layout: Layout,
    config: Config,
    *,
    run_id: str,
    only: str | None = None,
) -> list[NodeRun]:
    from beam_transforms.sources import scan_inputs
    from pipeline.commands.stages import print_passed_over

    if only in (None, INPUT_NODE):  # reports a missing input before TensorFlow is loaded
        print_passed_over(console, scan_inputs(inputs).passed_over)
    _begin(layout, run_id, config)
    with console.stage("load TFX"):
        from pipeline.components.training_pipeline import training_pipeline
        from pipeline.runs.runner import StagedDagRunner
    runner = StagedDagRunner(console=console, layout=layout, run_id=run_id, only=only)
    absolute = [
        path if files.is_remote(path) else str(pathlib.Path(path).absolute()) for path in inputs
    ]
    try:
        runner.run(training_pipeline(inputs=absolute, layout=layout, config=config))
    finally:
        runner.write_summary()
    return runner.nodes


def write_page(
    console: Console,
    root: str,
    run_id: str,
    config: Config,
    *,
    output: str | None = None,
) -> str:
    """Writes the page of a run, prints its path and returns it.

    Args:
      console: Console to print to.
      root: The pipeline root.
      run_id: Id of the run.
      config: Configuration of the run.
      output: Folder for the page, local or gs://. By default, it is the folder of the run's clips,
        or the run's own folder if it has none.

    Raises:
      LineageError: There is no ML Metadata below the root.
      IncompleteError: The clips are missing.
    """
    with console.stage("write page") as stage:
        from pipeline.report import page

        clips, maker = page.find_clips(root, run_id, config.metadata) or (None, run_id)
        path = page.write_report(
            root=root,
            run_ids=[maker],
            output=output or clips or Layout.at(root, config.metadata).run_folder(run_id),
            settings=config.report,
            metadata=config.metadata,
            clips=clips,
        )
        stage.outcome = "done"
    console.line(f"  the page of this run: {path}")
    return path


def _begin(layout: Layout, run_id: str, config: Config) -> None:
    """Stores the configuration of a run, unless an earlier command of the run has done so.

    Raises:
      UsageError: The run has another configuration, or one with an unknown Beam option.
    """
    from storage.outputs import open_output

    check_beam_args(config.beam.args, "beam.args")
    folder = layout.run_folder(run_id)
    try:  # fails if the file is there with other content, even if two nodes begin at once
        open_output(folder).publish(contract.EFFECTIVE_CONFIG, config.to_yaml().encode())
    except OutputExistsError:
        raise UsageError(
            f"{run_id} was begun with another configuration, {folder}/{contract.EFFECTIVE_CONFIG}. "
            "Give every node of a run the same --config and --set, or choose another --run-id."
        ) from None


def require_blessed(result: TrainingResult) -> None:
    """Checks that the model of a training run may be used.

    Raises:
      NotBlessedError: The model was refused.
      CannotJudgeError: It cannot be judged, and evaluate.accept_unjudged is not set.
    """
    from pipeline.evaluation import verdict

    verdict.require_blessed(result.evaluation, f"not pushed; the model stays in {result.model}")


def require_blessed_run(console: Console, root: str, run_id: str, config: Config) -> None:
    """Prints the verdict on the model of a training run.

    Raises:
      IncompleteError: The run has no verdict yet.
      NotBlessedError, CannotJudgeError: As require_blessed.
    """
    with console.stage("look up the verdict"):
        from pipeline.evaluation import verdict
        from pipeline.runs import results

        evaluation = results.evaluation_of_run(Layout.at(root, config.metadata), run_id)
    _print_verdict(console, evaluation)
    verdict.require_blessed(evaluation, f"the model of {run_id} is not pushed")


def _print_verdict(console: Console, evaluation: Mapping[str, Any]) -> None:
    for line in (*evaluation["reasons"], evaluation["sentence"], evaluation["advice"]):
        console.line(f"  model: {line}")


def run_generation(
    console: Console,
    root: str,
    output: str,
    config: Config,
    *,
    run_id: str,
    only: str | None = None,
) -> dict[str, Any] | None:
    """Runs the generation pipeline, or its node `only`.

    Args:
      console: Console that shows the nodes.
      root: The pipeline root.
      output: Folder for the clips, local or gs://.
      config: The configuration.
      run_id: Id of the run.
      only: Name of the single node to run; all by default.

    Returns:
      The manifest of the clips, or None if only the first node ran.

    Raises:
      NotBlessedError: There is no blessed model below the root.
      OutputExistsError: The output has a finished run with other settings or another model.
      UsageError: The node is unknown, or the run was begun with another configuration.
      IncompleteError: A node that it depends on has not run in this run.
      BusyError: The node is running in another process.
    """
    layout = Layout.at(root, config.metadata)
    output = output if files.is_remote(output) else str(pathlib.Path(output).absolute())
    if not config.metadata.on_server and not pathlib.Path(layout.metadata_file).exists():
        raise NotBlessedError(
            f"no blessed model below {root}: nothing was trained there yet. Run "
            f"`nocturne run training --input ... --root {root}` first."
        )
    if only in (None, OUTPUT_NODE):
        _refuse_other_settings(output, config)
    _begin(layout, run_id, config)
    with console.stage("load TFX"):
        from generator.generate import read_manifest
        from pipeline.commands.stages import print_clips
        from pipeline.components.generation_pipeline import generation_pipeline
        from pipeline.runs.runner import StagedDagRunner
    runner = StagedDagRunner(console=console, layout=layout, run_id=run_id, only=only)
    try:
        runner.run(generation_pipeline(output=output, layout=layout, config=config))
    finally:
        runner.write_summary()
    last = runner.nodes[-1]
    if last.outcome == "skipped":
        raise NotBlessedError(
            f"no blessed model below {root}. Run `nocturne run training`, which trains a model and "
            "says why if it is refused."
        )
    if last.node != OUTPUT_NODE:
        return None
    manifest = read_manifest(output)
    print_clips(console, manifest, output)
    write_page(console, layout.root, run_id, config)
    return manifest


def _refuse_other_settings(output: str, config: Config) -> None:
    """Refuses an output that has a finished run with other settings, before loading TensorFlow."""
    from storage.outputs import open_output

    folder = open_output(output)
    text = folder.read(contract.MANIFEST) if folder.read(contract.COMPLETED) is not None else None
    if text and json.loads(text)["generate"] != config.generate.recorded():
        raise OutputExistsError(
            f"{output} already holds a finished run with other settings. Choose another "
            "--output, or remove it."
        )
