"""`nocturne run`: the two TFX pipelines, as a whole or node by node."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import (
    INPUT,
    AcceptUnjudged,
    AsJson,
    ConfigFiles,
    GenerationOptions,
    Only,
    Overrides,
    Root,
    RunId,
    accepting,
    add_command,
    configuration,
    option,
    print_json,
    print_text,
    run_id_for,
    running,
    with_generation_options,
)
from pipeline.root import paths

run_app = typer.Typer(
    no_args_is_help=True,
    help="Run the training pipeline or the generation pipeline.\n\n"
    "Both are TFX pipelines: finished work is cached, and every result is recorded in ML Metadata.",
)


@add_command(
    run_app, "audio", "prepare", "train", "tune", "evaluate", "report", "beam", "metadata",
    name="training",
)  # fmt: skip
def run_training(
    inputs: Annotated[list[str], INPUT],
    root: Root,
    run_id: RunId = None,
    only: Only = None,
    accept_unjudged: AcceptUnjudged = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Prepare audio files, train a model and evaluate it.

    A model that passes is blessed: the generation pipeline will use it. The exit code is 8 if it
    is refused, and 13 if it cannot be judged.

    Example: nocturne run training --input ~/Music --root pipeline-root
    """
    settings = configuration(config, accepting(overrides, accept_unjudged))
    run_id = run_id_for("training", run_id, only)
    log = paths.run_log(root, run_id, only)
    with running("run-training", log=log, run_id=run_id) as console:
        from pipeline.runs import launch

        if only:
            launch.run_training_node(console, inputs, root, settings, run_id=run_id, node=only)
        else:
            launch.require_blessed(
                launch.run_training(console, inputs, root, settings, run_id=run_id)
            )


@add_command(run_app, "generate", "report", "beam", "metadata", name="generation")
@with_generation_options
def run_generation(
    root: Root,
    options: GenerationOptions,
    run_id: RunId = None,
    only: Only = None,
) -> None:
    """Generate clips with the latest blessed model.

    Example: nocturne run generation --root pipeline-root --output clips --clips 8
    """
    settings = options.configuration()
    run_id = run_id_for("generation", run_id, only)
    with running("run-generation", log=paths.run_log(root, run_id, only), run_id=run_id) as console:
        from pipeline.runs import launch

        launch.run_generation(console, root, options.output, settings, run_id=run_id, only=only)


@add_command(run_app, "metadata", name="blessed")
def run_blessed(
    root: Root,
    run_id: Annotated[str, option("ID", "A run of the training pipeline.")],
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Show the verdict on the model of a training run.

    The exit code is 8 if the model was refused, and 13 if it could not be judged.

    Example: nocturne run blessed --root pipeline-root --run-id my-training
    """
    settings = configuration(config, overrides)
    with running("run-blessed", run_id=run_id) as console:
        from pipeline.runs import launch

        launch.require_blessed_run(console, root, run_id, settings)


@add_command(run_app, "tune", "train", name="nodes")
def run_nodes(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="training or generation.")],
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """List the nodes of a pipeline, in an order that works.

    Each line is a node, followed by the nodes that have to finish before it.

    Example: nocturne run nodes training --json
    """
    settings = configuration(config, overrides)
    with running("run-nodes"):
        from pipeline.components import node_list

        nodes = node_list.list_nodes(pipeline, settings)
    if as_json:
        print_json(nodes)
    else:
        print_text(node_list.format_nodes(nodes))
