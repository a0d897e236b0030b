"""Contents of TFX's artifacts, read without TFX, which takes long to load."""

from __future__ import annotations

from audio import contract
from storage import files

_SERVING = "Format-Serving"


def serving_folder(uri: str) -> str:
    """Returns the folder of the SavedModel in a Model artifact."""
    return f"{uri}/{_SERVING}"


def read_anomalies(uri: str) -> tuple[str, ...]:
    """Returns the anomalies in an ExampleAnomalies artifact, one line each."""
    return tuple(line for split in contract.SPLITS for line in _anomalies_of_split(uri, split))


def _anomalies_of_split(folder: str, split: str) -> list[str]:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    path = files.join(folder, f"Split-{split}", "SchemaDiff.pb")
    if not files.exists(path):
        return []
    with files.open_read(path) as file:
        anomalies = anomalies_pb2.Anomalies.FromString(file.read())
    return [
        f"{split}: {name}: {info.short_description}. {info.description}"
        for name, info in sorted(anomalies.anomaly_info.items())
    ]
