"""The two TFX pipelines as commands."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from audio import contract
from audio.errors import NotBlessedError, OutputExistsError
from pipeline.configs import Config
from pipeline.console import Console
from pipeline.layout import Layout


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training run left.

    Attributes:
      dataset: folder of the dataset.
      model: folder of the model.
      evaluation: the Evaluator's figures and reasons.
      anomalies: what ExampleValidator found, one line each.
    """

    dataset: str
    model: str
    evaluation: dict[str, Any]
    anomalies: tuple[str, ...]


def training(
    console: Console, inputs: Sequence[str], root: str, config: Config, *, run_id: str
) -> TrainingResult:
    """Runs the training pipeline.

    A model that fails its evaluation is kept, but not pushed; see require_blessed.

    Raises:
      InputError: there is no audio.
    """
    layout = Layout.at(root)
    from beam_transforms.sources import find_sources

    find_sources(inputs)  # a missing input is said before TensorFlow is loaded
    with console.stage("load TFX"):
        from pipeline import commands, results
        from pipeline.runners import StagedDagRunner
        from pipeline.training import training_pipeline
    folder = layout.run_folder(run_id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / contract.EFFECTIVE_CONFIG).write_text(config.to_yaml())
    runner = StagedDagRunner(console=console, layout=layout, run_id=run_id)
    absolute = [one if "://" in one else str(pathlib.Path(one).absolute()) for one in inputs]
    try:
        runner.run(training_pipeline(inputs=absolute, layout=layout, config=config))
    finally:
        runner.write_summary(folder)
    result = results.training_result(layout, runner.nodes)
    commands.print_rejected(console, result.dataset)
    for anomaly in result.anomalies:
        console.line(f"  data: {anomaly}")
    for reason in result.evaluation["reasons"]:
        console.line(f"  model: {reason}")
    return result


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


def generation(
    console: Console, root: str, output: str, config: Config, *, run_id: str
) -> dict[str, Any]:
    """Runs the generation pipeline; returns the manifest.

    Raises:
      NotBlessedError: no model below root is blessed.
      OutputExistsError: the output holds a finished run of another plan or model.
    """
    layout = Layout.at(root)
    output = str(pathlib.Path(output).absolute())
    if not pathlib.Path(layout.metadata).exists():
        raise NotBlessedError(
            f"no blessed model below {root}: nothing was trained there yet. "
            "Run `nocturne run training --input ... --root` first."
        )
    finished = pathlib.Path(output, contract.COMPLETED).exists()
    if finished:
        manifest = json.loads(pathlib.Path(output, contract.MANIFEST).read_text())
        if manifest["generate"] != dataclasses.asdict(config.generate):
            raise OutputExistsError(
                f"{output} already holds a finished run with other settings. Choose another "
                "--output, or remove it."
            )
    with console.stage("load TFX"):
        from generator.generate import read_manifest
        from pipeline.commands import print_clips
        from pipeline.generation import generation_pipeline
        from pipeline.runners import StagedDagRunner
    runner = StagedDagRunner(console=console, layout=layout, run_id=run_id)
    try:
        runner.run(generation_pipeline(output=output, layout=layout, config=config))
    finally:
        runner.write_summary(layout.run_folder(run_id))
    if runner.nodes[-1].outcome == "skipped":
        raise NotBlessedError(
            f"no blessed model below {root}. `nocturne run training` makes one; it says why where "
            "a model fails."
        )
    manifest = read_manifest(output)
    print_clips(console, manifest, output)
    return manifest
