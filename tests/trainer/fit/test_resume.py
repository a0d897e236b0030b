"""A training run that is stopped for any reason resumes with the same losses and model."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.support.tiny import TINY
from trainer.data.normaliser import Normaliser
from trainer.data.windows import Dataset
from trainer.export.saved_model import model_id
from trainer.fit import train
from trainer.fit.run import Progress
from trainer.fit.signals import PreemptedError

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[3]
# Dropout and noise are on: everything random in a step must come back as well.
SETTINGS = dataclasses.replace(
    TINY, steps=40, eval_every=10, dropout=0.2, input_noise=1.0, checkpoint_seconds=0.01
)
MIXTURE = dataclasses.replace(SETTINGS, head="mixture", eval_every=20)


class Attempts:
    """Attempts at one training run; `steps` are those that the last attempt took."""

    def __init__(self, dataset: Dataset, normaliser: Normaliser, folder: pathlib.Path) -> None:
        self._dataset, self._normaliser, self._folder = dataset, normaliser, str(folder)
        self.steps: list[int] = []

    def fit(self, progress: Progress | None = None) -> tuple[list, str]:
        """Returns the rows of the history, and the id of the model."""
        self.steps = []

        def record(step: int, total: int, loss: float) -> None:
            self.steps.append(step)
            if progress:
                progress(step, total, loss)

        model, history = train.fit(
            self._dataset,
            self._normaliser,
            SETTINGS,
            folder=self._folder,
            write_logs=False,
            progress=record,
        )
        return history["epochs"], model_id(model, self._dataset)


@pytest.fixture(scope="module")
def uninterrupted(opened, normaliser, tmp_path_factory) -> tuple[list, str]:
    """The history and the model of a run without interruption."""
    return Attempts(opened, normaliser, tmp_path_factory.mktemp("uninterrupted")).fit()


def test_fit_resumes_after_errors(opened, normaliser, tmp_path, uninterrupted) -> None:
    attempts = Attempts(opened, normaliser, tmp_path)
    last = 0
    for failing in (1, 10, 23):

        def fail(step: int, total: int, loss: float, failing: int = failing) -> None:
            if step == failing:
                raise RuntimeError("power cut")

        with pytest.raises(RuntimeError, match="power cut"):
            attempts.fit(fail)
        # The step that failed was not saved; one of the last before it was.
        assert max(1, last - 3) <= attempts.steps[0] <= max(1, last)
        last = failing
    assert attempts.fit() == uninterrupted
    assert last - 3 <= attempts.steps[0] <= last
    assert attempts.steps[-1] == 40


def test_fit_saves_and_stops_on_sigterm(opened, normaliser, tmp_path, uninterrupted) -> None:
    """In the middle of a part, at the end of one, which is still evaluated, and at the very end."""
    attempts = Attempts(opened, normaliser, tmp_path)
    first = 1
    for terminated in (17, 20, 40):

        def terminate(step: int, total: int, loss: float, terminated: int = terminated) -> None:
            if step == terminated:
                os.kill(os.getpid(), signal.SIGTERM)

        message = f"stopped at step {terminated} of 40, which is saved"
        with pytest.raises(PreemptedError, match=message):
            attempts.fit(terminate)
        assert attempts.steps == list(range(first, terminated + 1))
        first = terminated + 1
    assert attempts.fit() == uninterrupted
    assert attempts.steps == []


def test_train_resumes_after_sigkill(dataset, tmp_path) -> None:
    """In a process of its own, killed shortly after step 21, wherever it is then."""
    model = tmp_path / "model"
    code = (
        "import sys\n"
        "from tests.trainer.fit.test_resume import MIXTURE, train\n"
        "train.train(dataset_path=sys.argv[1], model_path=sys.argv[2], settings=MIXTURE,\n"
        "    progress=lambda step, *_: print(step, flush=True))\n"
    )
    command = [sys.executable, "-c", code, str(dataset), str(model)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if line.strip() == "21":
                time.sleep(0.02)
                process.kill()
    assert not model.exists()
    steps: list[int] = []
    info = train.train(
        dataset_path=str(dataset),
        model_path=str(model),
        settings=MIXTURE,
        progress=lambda step, *_: steps.append(step),
    )
    assert 1 < steps[0] <= 23
    assert not list(tmp_path.glob("*.training"))
    again = str(tmp_path / "uninterrupted")
    expected = train.train(dataset_path=str(dataset), model_path=again, settings=MIXTURE)
    assert (info["model_id"], info["metrics"]) == (expected["model_id"], expected["metrics"])


@pytest.mark.parametrize(
    ("changes", "resumes"),
    [
        ({"learning_rate": 1e-3}, False),
        ({"seed": 1}, False),
        ({"strategy": "gpu", "checkpoint_seconds": 9.0}, True),
    ],
)
def test_run_key_is_equal_for_runs_that_may_resume_each_other(
    opened, normaliser, changes, resumes: bool
) -> None:
    other = dataclasses.replace(SETTINGS, **changes)
    key = train.run_key(opened, normaliser, SETTINGS)
    assert (train.run_key(opened, normaliser, other) == key) == resumes
    louder = dataclasses.replace(normaliser, highest=normaliser.highest + np.float32(1))
    assert train.run_key(opened, louder, SETTINGS) != key
