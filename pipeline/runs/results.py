"""Results of a training run, found through ML Metadata."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from audio.errors import IncompleteError
from pipeline.evaluation.verdict import REPORT
from pipeline.root.artifacts import read_anomalies, serving_folder
from pipeline.root.metadata_store import SharedMetadata, execution_outputs, find_finished
from pipeline.root.paths import Layout
from pipeline.runs.summary import NodeRun
from storage import files


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """Results of a training run.

    Attributes:
      dataset: Folder of the dataset.
      model: Folder of the model.
      evaluation: Content of evaluation.json.
      anomalies: Anomalies that ExampleValidator found, one line each.
    """

    dataset: str
    model: str
    evaluation: dict[str, Any]
    anomalies: tuple[str, ...]


def training_result(layout: Layout, nodes: Sequence[NodeRun]) -> TrainingResult:
    """Returns the results of a finished training run from its nodes."""
    by_name = {node.node: node.execution for node in nodes}
    model = _output(layout, by_name["Trainer"], "Model")
    return TrainingResult(
        dataset=_output(layout, by_name["AudioExampleGen"], "Examples"),
        model=serving_folder(model),
        evaluation=_evaluation(layout, by_name["Evaluator"]),
        anomalies=read_anomalies(_output(layout, by_name["ExampleValidator"], "ExampleAnomalies")),
    )


def evaluation_of_run(layout: Layout, run_id: str) -> dict[str, Any]:
    """Returns the content of the evaluation.json of a run.

    Raises:
      IncompleteError: The Evaluator has not finished in this run.
    """
    with SharedMetadata(layout) as handle:
        execution = find_finished(handle, run_id=run_id, node="Evaluator")
    if execution is None:
        raise IncompleteError(
            f"{run_id}: the Evaluator has not run to the end in this run. Run its nodes up to the "
            "Evaluator first."
        )
    return _evaluation(layout, execution.id)


def _evaluation(layout: Layout, execution: int) -> dict[str, Any]:
    path = files.join(_output(layout, execution, "nocturne.Evaluation"), REPORT)
    evaluation: dict[str, Any] = files.read_json(path)
    return evaluation


def _output(layout: Layout, execution: int, kind: str) -> str:
    return next(uri for name, uri, _ in execution_outputs(layout, execution) if name == kind)
