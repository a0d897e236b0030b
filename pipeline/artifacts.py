"""What TFX's nodes left in their artifacts, read without TFX, which takes long to load."""

from __future__ import annotations

import dataclasses
from typing import Any

from audio import contract
from beam_transforms import storage

# What the Evaluator leaves.
REPORT, PICTURES = "evaluation.json", "pictures"
_SERVING = "Format-Serving"


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


def serving_model(uri: str) -> str:
    """Returns the folder of the SavedModel in a Model artifact."""
    return f"{uri}/{_SERVING}"


def anomalies(uri: str) -> tuple[str, ...]:
    """Returns what ExampleValidator found, one line each."""
    return tuple(line for split in contract.SPLITS for line in _anomalies(uri, split))


def _anomalies(folder: str, split: str) -> list[str]:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    path = storage.join(folder, f"Split-{split}", "SchemaDiff.pb")
    if not storage.exists(path):
        return []
    with storage.open_read(path) as file:
        found = anomalies_pb2.Anomalies.FromString(file.read())
    return [
        f"{split}: {name}: {info.short_description}. {info.description}"
        for name, info in sorted(found.anomaly_info.items())
    ]
