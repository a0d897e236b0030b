"""A pipeline root without TFX: real data, models and clips, in a real ML Metadata store."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as proto

from audio import contract
from generator import generate
from generator.requests import GenerateSettings
from pipeline.evaluation.verdict import FIGURES_VERSION
from pipeline.root.paths import PIPELINE_NAME

# A name that would run as a script if the page took it for markup.
HOSTILE = "\"'><img src=x onerror=document.title='taken'><script>document.title='taken'</script>"
TRAINING, GENERATIONS = "training-1", ("generation-1", "generation-2")


class Store:
    """Writes executions as TFX does."""

    def __init__(self, path: pathlib.Path) -> None:
        config = proto.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        config.sqlite.connection_mode = config.sqlite.READWRITE_OPENCREATE
        self.store = metadata_store.MetadataStore(config)

    def artifact(self, kind: str, uri: object, **properties: str) -> int:
        """Returns the id of a new artifact."""
        made = proto.Artifact(uri=str(uri), type_id=self._type(proto.ArtifactType, kind))
        for name, value in properties.items():
            made.properties[name].string_value = value
        return int(self.store.put_artifacts([made])[0])

    def _type(self, make: Any, kind: str) -> int:
        new_type = make(name=kind)
        if kind == "nocturne.GeneratedClips":
            new_type.properties["output"] = proto.STRING
        put = {
            proto.ArtifactType: "put_artifact_type",
            proto.ExecutionType: "put_execution_type",
            proto.ContextType: "put_context_type",
        }[make]
        return int(getattr(self.store, put)(new_type))

    def context(self, kind: str, name: str) -> Any:
        """Returns a context, which is created if there is none."""
        found = self.store.get_context_by_type_and_name(kind, name)
        if found is None:
            made = proto.Context(name=name, type_id=self._type(proto.ContextType, kind))
            (number,) = self.store.put_contexts([made])
            (found,) = self.store.get_contexts_by_id([number])
        return found

    def ran(
        self,
        node: str,
        run: str,
        *,
        reads: Sequence[int] = (),
        makes: Sequence[int] = (),
        finds: Sequence[int] = (),
        state: int = proto.Execution.COMPLETE,
    ) -> int:
        """Returns the id of a new execution."""
        execution = proto.Execution(
            type_id=self._type(proto.ExecutionType, f"nodes.{node}"), last_known_state=state
        )
        contexts = [
            self.context("pipeline_run", run),
            self.context("node", f"{PIPELINE_NAME}.{node}"),
        ]
        kinds = (
            (proto.Event.INPUT, reads),
            (proto.Event.OUTPUT, makes),
            (proto.Event.INTERNAL_OUTPUT, finds),
        )
        pairs = [
            (self.store.get_artifacts_by_id([number])[0], proto.Event(type=kind))
            for kind, numbers in kinds
            for number in numbers
        ]
        return int(self.store.put_execution(execution, pairs, contexts)[0])


def make_root(
    folder: pathlib.Path, dataset: pathlib.Path, model: pathlib.Path, *, clips: int = 2
) -> pathlib.Path:
    """Returns a root with a training run and two generation runs, FOLDER/clips-1 and clips-2.

    Names in the dataset contain markup, as an attacker might choose them.
    """
    root = folder / "root"
    examples = root / "artifacts" / "examples"
    shutil.copytree(dataset, examples)
    _make_hostile(examples)
    served = root / "artifacts" / "model" / "Format-Serving"
    shutil.copytree(model, served)
    info_path = served / contract.MODEL_INFO
    info = json.loads(info_path.read_text())
    info["dataset"]["path"] = str(examples)
    info_path.write_text(json.dumps(info))
    evaluation_folder = root / "artifacts" / "evaluation"
    evaluation_folder.mkdir()
    verdict = {
        "blessed": False,
        "model_id": info["model_id"],
        "reasons": ["pass: movement is 1.00", f"FAIL: {HOSTILE}"],
        "outcome": "refused",
        "accepted": False,
        "sentence": "The model is refused: 1 of 2 checks failed.",
        "advice": "Add more recordings.",
        "version": FIGURES_VERSION,
        "figures": {
            "scale": {
                "attack": {
                    "real": 1.0, "real_range": [0.9, 1.1], "model": 0.123456,
                    "controls": {"noise": 0.02}, "best_control": "noise", "place": 0.12,
                    "interval": [-2.0, 0.2],
                },
                "beat": {
                    "real": 0.5, "real_range": [0.4, 0.6], "model": 0.5, "controls": {"noise": 0.5},
                    "best_control": None, "place": None, "interval": None,
                },
            }
        },
    }  # fmt: skip
    (evaluation_folder / "evaluation.json").write_text(json.dumps(verdict))
    store = Store(root / "metadata.sqlite")
    data = store.artifact("Examples", examples)
    store.ran("AudioExampleGen", TRAINING, makes=[data])
    trained = store.artifact("Model", served.parent)
    store.ran("Trainer", TRAINING, reads=[data], makes=[trained])
    blessing = store.artifact("ModelBlessing", evaluation_folder)
    evaluation = store.artifact("nocturne.Evaluation", evaluation_folder)
    store.ran("Evaluator", TRAINING, reads=[data, trained], makes=[blessing, evaluation])
    for seed, run in enumerate(GENERATIONS, start=1):
        output = folder / f"clips-{seed}"
        uri = root / "artifacts" / f"clips-{seed}"
        generate.run(
            model_path=str(served),
            output=str(output),
            settings=GenerateSettings(clips=clips, seconds=2, iterations=2, seed=seed),
            lineage={"metadata": "", "model_artifact": trained, "clips_uri": str(uri)},
        )
        made = store.artifact("nocturne.GeneratedClips", uri, output=str(output))
        store.ran("LatestBlessedModel", run, finds=[trained, blessing])
        store.ran("BatchGenerator", run, reads=[trained], makes=[made])
    return root


def _make_hostile(dataset: pathlib.Path) -> None:
    """Gives the recordings and the rejected files names with markup."""
    path = dataset / contract.RECORDINGS
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["source_uri"] = f"/music/{HOSTILE}{row['recording_id'][:4]}.wav"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rejected = {"uri": f"/music/{HOSTILE}", "error": "AudioError", "message": HOSTILE}
    lines = [rejected, {**rejected, "uri": "/music/\udcff.wav"}]
    (dataset / contract.REJECTED).write_text("".join(json.dumps(row) + "\n" for row in lines))
