"""The demo: corpus, training pipeline, generation pipeline, page."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

from audio import contract
from pipeline.config.load import Config
from pipeline.console.terminal import Console
from pipeline.demo.corpus import render_corpus
from storage.locks import exclusive

# Settings that differ from the defaults, so that two cores need only minutes.
DEMO_OVERRIDES = (
    "generate.clips=4",
    "generate.seconds=12",
    # Of so little music, a quarter is needed to judge a model by.
    "prepare.eval_share=0.25",
)


def run(console: Console, root: str, inputs: Sequence[str], config: Config) -> pathlib.Path:
    """Runs the demo in a folder; results of an earlier demo there are used again.

    Args:
      console: Shows the stages.
      root: Path of the folder.
      inputs: Paths of the user's own recordings; if there are none, a corpus is rendered.
      config: The configuration.

    Returns:
      The path of the page.

    Raises:
      BusyError: Another demo is running in that folder.
    """
    with exclusive(root):
        return _run(console, root, inputs, config)


def _run(console: Console, root: str, inputs: Sequence[str], config: Config) -> pathlib.Path:
    from pipeline.commands import stages
    from pipeline.runs import launch

    base = pathlib.Path(root)
    run_id = f"demo-{os.getpid()}"
    if not inputs:
        with console.stage("render corpus") as stage:
            pieces = render_corpus(
                base / "corpus", progress=lambda done, total: stage.update(done, total, "pieces")
            )
            stage.outcome = f"{len(pieces)} pieces"
        inputs = [str(base / "corpus")]
    pipeline_root, clips = str(base / "pipeline"), str(base / "clips")
    trained = launch.run_training(
        console, inputs, pipeline_root, config, run_id=f"{run_id}-training"
    )
    run_ids = [f"{run_id}-training"]
    if trained.evaluation["blessed"]:
        run_ids.append(f"{run_id}-generation")
        launch.run_generation(console, pipeline_root, clips, config, run_id=run_ids[-1])
    elif not pathlib.Path(clips, contract.COMPLETED).exists():
        # `run generation` would make no clips of a refused model; the demo shows what it can do.
        stages.generate(console, trained.model, clips, config)
    with console.stage("write page"):
        from pipeline.report.page import write_report

        page = write_report(
            root=pipeline_root,
            run_ids=run_ids,
            output=root,
            settings=config.report,
            metadata=config.metadata,
            clips=clips,
        )
    if not trained.evaluation["blessed"]:
        console.line("The page shows clips of this model although it is not blessed; see above.")
    console.line(f"To listen, open {page} in a browser.")
    return pathlib.Path(page)
