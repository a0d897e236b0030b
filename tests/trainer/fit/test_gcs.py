"""Training from a bucket into a bucket: data, checkpoints and model, as on a TPU."""

from __future__ import annotations

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
JOB = """
import dataclasses, sys
bucket, until = sys.argv[1], int(sys.argv[2])
from tests.support.tiny import TINY
from trainer.fit import train
def progress(step, total, loss):
    print("step", step, flush=True)
    if step == until:
        raise RuntimeError("power cut")
settings = dataclasses.replace(TINY, checkpoint_seconds=0.01)
info = train.train(dataset_path=f"{bucket}/dataset", model_path=f"{bucket}/models/one",
                 settings=settings, progress=progress)
from generator.inference import load_model
print("model", load_model(f"{bucket}/models/one").info["model_id"])
"""


def train(bucket: str, until: int, environment: dict[str, str]) -> tuple[int, list[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", JOB, bucket, str(until)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    steps = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("step ")]
    return done.returncode, steps, done.stdout + done.stderr


def test_a_training_in_a_bucket_goes_on_after_a_kill(dataset, tmp_path, monkeypatch) -> None:
    with emulator(tmp_path, monkeypatch) as bucket:
        for path in dataset.rglob("*"):
            if path.is_file():
                name = f"{bucket}/dataset/{path.relative_to(dataset)}"
                with files.atomic_file(name) as file:
                    file.write(path.read_bytes())
        host = os.environ["STORAGE_EMULATOR_HOST"].removeprefix("http://")
        with googleapis(tmp_path, host) as environment:
            code, steps, output = train(bucket, 8, environment)
            assert code == 1, output[-3000:]
            assert "power cut" in output
            assert not files.exists(f"{bucket}/models/one/saved_model.pb")
            code, steps, output = train(bucket, 99, environment)
        assert code == 0, output[-3000:]
        assert steps == [str(step) for step in range(8, 13)]
        assert "model " in output
        assert files.exists(f"{bucket}/models/one/{contract.MODEL_INFO}")
        # TensorFlow marks folders with an object of their name.
        found = files.match(f"{bucket}/models/**")
        assert not [name for name in found if "/one/" not in name and not name.endswith("/")]
