"""A pipelines' root with a store of ML Metadata that says what TFX would, without its runs."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from audio import contract
from pipeline.root.paths import PIPELINE_NAME, Layout
from storage import files

FILES = {
    "Examples": (contract.COMPLETED, "Split-train/records.tfrecord"),
    "Model": ("Format-Serving/saved_model.pb", "Format-Serving/variables/weights"),
    "ModelBlessing": ("BLESSED",),
    "nocturne.Evaluation": ("evaluation.json",),
    "nocturne.GeneratedClips": (contract.MANIFEST,),
}


class Root:
    """A root that is filled execution by execution."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def execute(
        self,
        run: str,
        node: str,
        kind: str,
        *,
        inputs: tuple[Any, ...] = (),
        running: bool = False,
        **properties: Any,
    ) -> Any:
        """Adds an execution with one output, an artifact in its folder; returns the artifact."""
        from ml_metadata.proto import metadata_store_pb2 as pb

        from pipeline.root.metadata_store import SharedMetadata

        with SharedMetadata(self.layout) as handle:
            store = handle.store
            contexts = []
            for context, name in (("pipeline_run", run), ("node", f"{PIPELINE_NAME}.{node}")):
                number = store.put_context_type(pb.ContextType(name=context))
                contexts.append(pb.Context(type_id=number, name=name))
            execution = pb.Execution(
                type_id=store.put_execution_type(pb.ExecutionType(name=node)),
                last_known_state=pb.Execution.RUNNING if running else pb.Execution.COMPLETE,
            )
            read = [(one, pb.Event(type=pb.Event.INPUT)) for one in inputs]
            (number, _, _) = store.put_execution(
                execution, read, contexts, reuse_context_if_already_exist=True
            )
            execution.id = number
            uri = f"{self.layout.root}/artifacts/{node}/{kind.lower()}/{number}"
            for name in FILES[kind]:
                files.write_text(f"{uri}/{name}", properties.get("text", f"{kind} {number}"))
            if running:
                return uri
            made = pb.Artifact(
                type_id=store.put_artifact_type(
                    pb.ArtifactType(name=kind, properties={"output": pb.STRING})
                ),
                uri=uri,
                state=pb.Artifact.LIVE,
            )
            if "output" in properties:
                made.properties["output"].string_value = properties["output"]
            for name in ("blessed", "current_model_id"):
                if name in properties:
                    made.custom_properties[name].int_value = properties[name]
            _, (made.id,), _ = store.put_execution(
                execution, [(made, pb.Event(type=pb.Event.OUTPUT))], []
            )
        files.write_text(f"{self.layout.run_folder(run)}/run.json", "{}")
        return made

    def train(self, run: str, *, blessed: bool) -> Any:
        """Adds a run of the training pipeline; returns its model."""
        data = self.execute(run, "AudioExampleGen", "Examples")
        model = self.execute(run, "Trainer", "Model", inputs=(data,))
        model.custom_properties["dataset"].string_value = data.uri
        self.execute(
            run,
            "Evaluator",
            "ModelBlessing",
            inputs=(model, data),
            blessed=int(blessed),
            current_model_id=model.id,
        )
        return model

    def generate(self, run: str, model: Any, output: str) -> Any:
        """Adds a run of the generation pipeline and its clips."""
        manifest = json.dumps(
            {
                "model": {
                    "path": f"{model.uri}/Format-Serving",
                    "dataset": {"path": model.custom_properties["dataset"].string_value},
                },
                "lineage": {"model_artifact": model.id},
            }
        )
        files.write_text(f"{output}/{contract.MANIFEST}", manifest)
        files.write_text(f"{output}/{contract.COMPLETED}", "")
        return self.execute(
            run,
            "BatchGenerator",
            "nocturne.GeneratedClips",
            inputs=(model,),
            output=output,
            text=manifest,
        )

    def states(self) -> dict[str, str]:
        """Returns the state of every artifact by its path below artifacts/."""
        from ml_metadata.proto import metadata_store_pb2 as pb

        from pipeline.root.metadata_store import SharedMetadata

        with SharedMetadata(self.layout) as handle:
            return {
                one.uri.partition("/artifacts/")[2]: pb.Artifact.State.Name(one.state)
                for one in handle.store.get_artifacts()
            }


def names_below(folder: pathlib.Path) -> set[str]:
    """Returns the files below a folder."""
    return {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()}
