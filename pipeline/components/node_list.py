"""The nodes of a pipeline, for schedulers that have one task per node."""

from __future__ import annotations

import tempfile

from audio.errors import UsageError
from pipeline.config.load import Config
from pipeline.root.paths import Layout


def list_nodes(pipeline: str, config: Config) -> dict[str, list[str]]:
    """Returns the nodes of a pipeline with the nodes that each depends on.

    They are read from the compiled pipeline and are in an order in which they can run.

    Args:
      pipeline: Name of the pipeline, `training` or `generation`.
      config: Configuration, which can add nodes.

    Raises:
      UsageError: There is no such pipeline.
    """
    if pipeline not in ("training", "generation"):
        raise UsageError(f"wanted training or generation, got {pipeline!r}")
    from tfx.dsl.compiler.compiler import Compiler

    from pipeline.components.generation_pipeline import generation_pipeline
    from pipeline.components.training_pipeline import training_pipeline

    with tempfile.TemporaryDirectory() as folder:
        layout = Layout.at(folder)
        defined = (
            training_pipeline(inputs=(), layout=layout, config=config)
            if pipeline == "training"
            else generation_pipeline(output=folder, layout=layout, config=config)
        )
        compiled = Compiler().compile(defined)
    nodes = [node.pipeline_node for node in compiled.nodes]
    return {node.node_info.id: sorted(node.upstream_nodes) for node in nodes}


def format_nodes(nodes: dict[str, list[str]]) -> str:
    """Returns nodes as text: a line for each, with the nodes that it depends on."""
    return "\n".join(" ".join([f"{name:<20}", *before]).rstrip() for name, before in nodes.items())
