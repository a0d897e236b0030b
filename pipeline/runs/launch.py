"""The two TFX pipelines as commands."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from audio import contract
from audio.errors import NotBlessedError, OutputExistsError, UsageError
from pipeline.config.load import Config
from pipeline.console.terminal import Console
from pipeline.root.paths import Layout

if TYPE_CHECKING:
    from pipeline.runs.results import TrainingResult
    from pipeline.runs.runner import NodeRun

# The one node that reads what --input names, and the one that writes to --output.
INPUT_NODE, OUTPUT_NODE = "AudioExampleGen", "BatchGenerator"
# After this one a run of training that goes node by node has what its page tells.
TRAINING_PAGE_NODE = "Pusher"


def run_training(
    console: Console, inputs: Sequence[str], root: str, config: Config, *, run_id: str
) -> TrainingResult:
    """Runs the training pipeline; a run of the same id is taken up where it stopped.

    A model that fails its evaluation is kept, but not pushed; see require_blessed.

    Raises:
      InputError: there is no audio.
      UsageError: the run was begun with another configuration.
    """
    layout = Layout.at(root, config.metadata)
    nodes = _run_nodes(console, inputs, layout, config, run_id=run_id)
    from pipeline.commands import stages
    from pipeline.runs import results

    result = results.training_result(layout, nodes)
    write_page(console, layout.root, run_id, config)
    stages.print_rejected(console, result.dataset)
    for anomaly in result.anomalies:
        console.line(f"  data: {anomaly}")
    for reason in result.evaluation["reasons"]:
        console.line(f"  model: {reason}")
    return result


def run_training_node(
    console: Console, inputs: Sequence[str], root: str, config: Config, *, run_id: str, node: str
) -> None:
    """Runs one node of the training pipeline, for an outside scheduler.

    Only AudioExampleGen looks at the inputs.

    Raises:
      InputError: there is no audio.
      UsageError: the node is unknown, or the run was begun with another configuration.
      IncompleteError: a node that it depends on has not run in this run.
      BusyError: it is running in another process.
    """
    used = inputs if node == INPUT_NODE else ()
    layout = Layout.at(root, config.metadata)
    _run_nodes(console, used, layout, config, run_id=run_id, only=node)
    if node == TRAINING_PAGE_NODE:
        write_page(console, layout.root, run_id, config)


def _run_nodes(
    console: Console,
    inputs: Sequence[str],
    layout: Layout,
    config: Config,
    *,
    run_id: str,
    only: str | None = None,
) -> list[NodeRun]:
    from beam_transforms.sources import find_sources

    if only in (None, INPUT_NODE):
        find_sources(inputs)  # a missing input is said before TensorFlow is loaded
    _begin(layout, run_id, config)
    with console.stage("load TFX"):
        from pipeline.components.training_pipeline import training_pipeline
        from pipeline.runs.runner import StagedDagRunner
    runner = StagedDagRunner(console=console, layout=layout, run_id=run_id, only=only)
    absolute = [one if "://" in one else str(pathlib.Path(one).absolute()) for one in inputs]
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
    """Writes the page of a run and prints where it is.

    Args:
      console: where it is shown.
      root: of the pipelines.
      run_id: the run.
      config: its configuration.
      output: a folder for the page, local or gs://; that of the run's clips, or the run's own,
        where none is given.

    Returns:
      The page's path.

    Raises:
      LineageError: there is no ML Metadata below the root.
      IncompleteError: the clips are gone.
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
    """Lays down the configuration of a run; every further command of the run must have the same.

    Raises:
      UsageError: the run has another configuration.
    """
    from storage.outputs import open_output

    folder = layout.run_folder(run_id)
    try:  # of two nodes that begin at once, one wins
        open_output(folder).publish(contract.EFFECTIVE_CONFIG, config.to_yaml().encode())
    except OutputExistsError:
        raise UsageError(
            f"{run_id} was begun with another configuration, {folder}/{contract.EFFECTIVE_CONFIG}. "
            "Give every node of a run the same --config and --set, or choose another --run-id."
        ) from None


def require_blessed(result: TrainingResult) -> None:
    """Checks that a training run's model passed.

    Raises:
      NotBlessedError: it did not.
    """
    if not result.evaluation["blessed"]:
        raise NotBlessedError(
            f"the model is not blessed, and not pushed; it stays in {result.model}. The lines that "
            "say FAIL above are why. Train longer (--set train.steps=...), or on more recordings."
        )


def require_blessed_run(console: Console, root: str, run_id: str, config: Config) -> None:
    """Prints the verdict on the model of a run of the training pipeline.

    Raises:
      IncompleteError: the run has no verdict.
      NotBlessedError: it failed.
    """
    with console.stage("look up the verdict"):
        from pipeline.runs import results

        evaluation = results.evaluation_of_run(Layout.at(root, config.metadata), run_id)
    for reason in evaluation["reasons"]:
        console.line(f"  model: {reason}")
    if not evaluation["blessed"]:
        raise NotBlessedError(
            f"the model of {run_id} is not blessed, and not pushed. The lines that say FAIL above "
            "are why. The blessed model before it, if there is one, stays in use."
        )


def run_generation(
    console: Console,
    root: str,
    output: str,
    config: Config,
    *,
    run_id: str,
    only: str | None = None,
) -> dict[str, Any] | None:
    """Runs the generation pipeline, or one node of it; returns the manifest where there is one.

    Raises:
      NotBlessedError: no model below root is blessed.
      OutputExistsError: the output holds a finished run of another plan or model.
      UsageError: the node is unknown, or the run was begun with another configuration.
      IncompleteError: a node that it depends on has not run in this run.
      BusyError: it is running in another process.
    """
    layout = Layout.at(root, config.metadata)
    output = output if "://" in output else str(pathlib.Path(output).absolute())
    if not config.metadata.on_server and not pathlib.Path(layout.metadata_file).exists():
        raise NotBlessedError(
            f"no blessed model below {root}: nothing was trained there yet. "
            "Run `nocturne run training --input ... --root` first."
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
            f"no blessed model below {root}. `nocturne run training` makes one; it says why where "
            "a model fails."
        )
    if last.node != OUTPUT_NODE:
        return None
    manifest = read_manifest(output)
    print_clips(console, manifest, output)
    write_page(console, layout.root, run_id, config)
    return manifest


def _refuse_other_settings(output: str, config: Config) -> None:
    """Refuses an output with a finished run of another plan, before TensorFlow is loaded."""
    from storage.outputs import open_output

    place = open_output(output)
    text = place.read(contract.MANIFEST) if place.read(contract.COMPLETED) is not None else None
    if text and json.loads(text)["generate"] != config.generate.recorded():
        raise OutputExistsError(
            f"{output} already holds a finished run with other settings. Choose another "
            "--output, or remove it."
        )
