import json
import pathlib

import pydantic
import pytest

from generator.manifest import Clip, Manifest

ROOT = pathlib.Path(__file__).parents[2]
CLIP = {
    "index": 0,
    "seed": 1,
    "primer": {"file": "mine.wav"},
    "health": {"faults": []},
    "attempts": [{"seed": 1, "faults": []}],
    "file": "clip-0000.wav",
    "bytes": 1,
    "sha256": "0" * 64,
    "crc32c": 7,
    "duration_seconds": 1.5,
    "sample_rate": 22050,
    "loudness_lufs": None,
    "true_peak_db": -1.0,
    "gain_db": 0.0,
}


def test_the_schema_in_the_docs_is_up_to_date() -> None:
    """`python -c "from tests.generator.test_manifest import write; write()"` writes it again."""
    schema = json.loads((ROOT / "docs" / "manifest.schema.json").read_text())
    assert schema == Manifest.model_json_schema()


def write() -> None:
    text = json.dumps(Manifest.model_json_schema(), indent=2) + "\n"
    (ROOT / "docs" / "manifest.schema.json").write_text(text)


@pytest.mark.parametrize("changes", [{"sha256": "short"}, {"signed_url": "x"}, {"crc32c": -1}])
def test_an_invalid_entry_is_refused(changes: dict) -> None:
    Clip.model_validate(CLIP)
    with pytest.raises(pydantic.ValidationError):
        Clip.model_validate({**CLIP, **changes})
