"""Reading what a training run's nodes left, through ML Metadata."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from audio.errors import IncompleteError
from pipeline.evaluation.verdict import REPORT
from pipeline.root.artifacts import read_anomalies, serving_folder
from pipeline.root.metadata_store import SharedMetadata, finished, outputs
from pipeline.root.paths import Layout
from pipeline.runs.runner import NodeRun
from storage import files


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training run ends with.

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


def training_result(layout: Layout, nodes: Sequence[NodeRun]) -> TrainingResult:
    """Returns what the nodes of a finished training run wrote."""
    by_name = {node.node: node.execution for node in nodes}
    model = _output(layout, by_name["Trainer"], "Model")
    return TrainingResult(
        dataset=_output(layout, by_name["AudioExampleGen"], "Examples"),
        model=serving_folder(model),
        evaluation=_evaluation(layout, by_name["Evaluator"]),
        anomalies=read_anomalies(_output(layout, by_name["ExampleValidator"], "ExampleAnomalies")),
    )


def evaluation_of_run(layout: Layout, run_id: str) -> dict[str, Any]:
    """Returns what the Evaluator of a run found.

    Raises:
      IncompleteError: it has not run to the end.
    """
    with SharedMetadata(layout) as handle:
        execution = finished(handle, run_id=run_id, node="Evaluator")
    if execution is None:
        raise IncompleteError(f"{run_id}: the Evaluator has not run to the end there.")
    return _evaluation(layout, execution.id)


def _evaluation(layout: Layout, execution: int) -> dict[str, Any]:
    path = files.join(_output(layout, execution, "nocturne.Evaluation"), REPORT)
    found: dict[str, Any] = files.read_json(path)
    return found


def _output(layout: Layout, execution: int, kind: str) -> str:
    return next(uri for name, uri, _ in outputs(layout, execution) if name == kind)
