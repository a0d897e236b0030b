"""Which nodes a pipeline has, for schedulers that own one task per node."""

from __future__ import annotations

import tempfile

from audio.errors import UsageError
from pipeline.config.load import Config
from pipeline.root.paths import Layout


def list_nodes(pipeline: str, config: Config) -> dict[str, list[str]]:
    """Returns the nodes of a pipeline, in an order that works, each with those before it.

    They are read from the compiled pipeline, which is what runs.

    Args:
      pipeline: training or generation.
      config: of the pipeline; nodes may be switched on and off by it.

    Raises:
      UsageError: there is no such pipeline.
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
    """Returns nodes as text: a line each, with those before it."""
    return "\n".join(" ".join([f"{name:<20}", *before]).rstrip() for name, before in nodes.items())
