"""`nocturne run`: the two TFX pipelines, whole or node by node."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import (
    AsJson,
    Clips,
    ConfigFiles,
    Date,
    Format,
    Input,
    Only,
    Overrides,
    Primer,
    Root,
    RunId,
    Seconds,
    Seed,
    Temperature,
    configuration,
    generation_configuration,
    print_json,
    run_id_for,
    running,
)
from pipeline.root import paths

run_app = typer.Typer(no_args_is_help=True, help="The two TFX pipelines.")


@run_app.command("training")
def run_training(
    input: Input,
    root: Root,
    run_id: RunId = None,
    only: Only = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Audio files to a blessed model: the TFX training pipeline. Exit code 8 where none is blessed.

    Example: nocturne run training --input ~/Music --root pipeline-root
    """
    settings = configuration(config, overrides)
    run_id = run_id_for("training", run_id, only)
    log = paths.run_log(root, run_id, only)
    with running("run-training", log=log, run_id=run_id) as console:
        from pipeline.runs import launch

        if only:
            launch.run_training_node(console, input, root, settings, run_id=run_id, node=only)
        else:
            launch.require_blessed(
                launch.run_training(console, input, root, settings, run_id=run_id)
            )


@run_app.command("generation")
def run_generation(
    root: Root,
    output: Annotated[str, typer.Option(help="A new folder for the clips, local or gs://.")],
    run_id: RunId = None,
    only: Only = None,
    clips: Clips = None,
    seconds: Seconds = None,
    seed: Seed = None,
    temperature: Temperature = None,
    primer: Primer = None,
    format: Format = None,
    date: Date = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """The latest blessed model to clips: the TFX generation pipeline.

    Example: nocturne run generation --root pipeline-root --output clips --clips 8
    """
    flags = (clips, seconds, seed, temperature, primer, format, date)
    settings = generation_configuration(config, overrides, *flags)
    run_id = run_id_for("generation", run_id, only)
    with running("run-generation", log=paths.run_log(root, run_id, only), run_id=run_id) as console:
        from pipeline.runs import launch

        launch.run_generation(console, root, output, settings, run_id=run_id, only=only)


@run_app.command("blessed")
def run_blessed(
    root: Root,
    run_id: Annotated[str, typer.Option(help="A run of the training pipeline.")],
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Shows the verdict on a run's model. Exit code 8 where it is not blessed.

    Example: nocturne run blessed --root pipeline-root --run-id training-20261122T020000-17
    """
    settings = configuration(config, overrides)
    with running("run-blessed", run_id=run_id) as console:
        from pipeline.runs import launch

        launch.require_blessed_run(console, root, run_id, settings)


@run_app.command("nodes")
def run_nodes(
    pipeline: Annotated[str, typer.Argument(help="training or generation.")],
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Lists a pipeline's nodes, each with those that it depends on, in an order that works.

    Example: nocturne run nodes training --json
    """
    settings = configuration(config, overrides)
    with running("run-nodes"):
        from pipeline.components import node_list

        found = node_list.list_nodes(pipeline, settings)
    if as_json:
        print_json(found)
    else:
        print(node_list.format_nodes(found))
