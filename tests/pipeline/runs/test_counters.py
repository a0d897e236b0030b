import json
import pathlib

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SCHEMA = pathlib.Path(__file__).parents[3] / "docs" / "counters.schema.json"


def test_the_schema_in_the_docs_is_the_counters() -> None:
    """`python -c "from tests.pipeline.runs.test_counters import write; write()"` writes it anew."""
    from pipeline.runs.counters import Counters

    assert json.loads(SCHEMA.read_text()) == Counters.model_json_schema()


def write() -> None:
    from pipeline.runs.counters import Counters

    SCHEMA.write_text(json.dumps(Counters.model_json_schema(), indent=2) + "\n")
