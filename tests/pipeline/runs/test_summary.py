import json
import pathlib
from typing import Any

from pipeline.root.paths import Layout
from pipeline.runs.summary import NodeRun, RunSummary, read_nodes

SCHEMA = pathlib.Path(__file__).parents[3] / "docs" / "run.schema.json"


def test_the_schema_in_the_docs_is_that_of_run_json() -> None:
    """To update it: `python -c "from tests.pipeline.runs.test_summary import write; write()"`."""
    assert json.loads(SCHEMA.read_text()) == RunSummary.model_json_schema()


def write() -> None:
    SCHEMA.write_text(json.dumps(RunSummary.model_json_schema(), indent=2) + "\n")


def test_the_run_json_of_an_earlier_version_is_read(tmp_path) -> None:
    row: dict[str, Any] = {"node": "Trainer", "outcome": "ran", "seconds": 1.5, "execution": 7}
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "run.json").write_text(
        json.dumps({"run_id": "first", "nodes": [row]})
    )
    assert read_nodes(Layout(str(tmp_path)), "first") == [NodeRun(**row)]
    assert read_nodes(Layout(str(tmp_path)), "second") == []
