"""Training from a bucket into a bucket: data, checkpoints and model, as on a TPU."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

from audio import contract
from storage import files
from tests.support.gcs import CLIENTS, emulator
from tests.support.googleapis import googleapis

pytestmark = CLIENTS

ROOT = pathlib.Path(__file__).parents[3]
# In a process of its own, because TensorFlow reads the address of its storage only once. The first
# attempt fails at step 8, the second one resumes.
JOB = """
import dataclasses, json, sys
bucket = sys.argv[1]
from generator.inference import load_model
from storage import files
from tests.support.tiny import TINY
from trainer.fit import train
steps = []
def progress(step, total, loss):
    steps.append(step)
    if len(steps) == 8:
        raise RuntimeError("power cut")
def run():
    train.train(dataset_path=f"{bucket}/dataset", model_path=f"{bucket}/models/one",
                settings=dataclasses.replace(TINY, checkpoint_seconds=0.01), progress=progress)
try:
    run()
except RuntimeError as error:
    failure = str(error)
partial_model = files.exists(f"{bucket}/models/one/saved_model.pb")
run()
load_model(f"{bucket}/models/one")
print(json.dumps({"failure": failure, "partial_model": partial_model, "steps": steps}))
"""


def test_train_in_a_bucket_resumes_after_an_error(dataset, tmp_path, monkeypatch) -> None:
    with emulator(tmp_path, monkeypatch) as bucket:
        for path in dataset.rglob("*"):
            if path.is_file():
                name = f"{bucket}/dataset/{path.relative_to(dataset)}"
                with files.atomic_file(name) as file:
                    file.write(path.read_bytes())
        host = os.environ["STORAGE_EMULATOR_HOST"].removeprefix("http://")
        with googleapis(tmp_path, host) as environment:
            result = subprocess.run(
                [sys.executable, "-c", JOB, bucket],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
        assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
        assert json.loads(result.stdout.splitlines()[-1]) == {
            "failure": "power cut",
            "partial_model": False,
            "steps": [*range(1, 9), *range(8, 13)],
        }
        assert files.exists(f"{bucket}/models/one/{contract.MODEL_INFO}")
        # TensorFlow marks folders with an object of their name.
        names = files.match(f"{bucket}/models/**")
        assert not [name for name in names if "/one/" not in name and not name.endswith("/")]
