"""A training run that is stopped for any reason resumes with the same losses and model."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from audio import contract
from tests.support.tiny import TINY
from trainer.export.saved_model import model_id
from trainer.fit import train
from trainer.fit.signals import PreemptedError

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[3]
# Dropout and noise are on: everything random in a step must come back as well.
SETTINGS = dataclasses.replace(
    TINY,
    head="mixture",
    steps=40,
    eval_every=10,
    dropout=0.2,
    input_noise=1.0,
    checkpoint_seconds=0.01,
)


@pytest.fixture(scope="module")
def uninterrupted(dataset, tmp_path_factory) -> pathlib.Path:
    """A model that was trained without interruption."""
    model = tmp_path_factory.mktemp("uninterrupted") / "model"
    train.train(dataset_path=str(dataset), model_path=str(model), settings=SETTINGS)
    return model


class Fits:
    """Attempts at one run, with the normaliser of the uninterrupted one."""

    def __init__(self, opened, uninterrupted: pathlib.Path, folder: pathlib.Path) -> None:
        graph = str(uninterrupted / contract.TRANSFORM_GRAPH)
        self._normaliser = train.Normaliser.from_graph(graph, floor=SETTINGS.model_floor)
        self._dataset, self._folder, self._uninterrupted = opened, str(folder), uninterrupted
        self.steps: list[int] = []

    def fit(self, progress: train.Progress | None = None) -> None:
        """Fits; `steps` are those taken in this attempt."""
        self.steps = []

        def record(step: int, total: int, loss: float) -> None:
            self.steps.append(step)
            if progress:
                progress(step, total, loss)

        self.model, self.history = train.fit(
            self._dataset,
            self._normaliser,
            SETTINGS,
            folder=self._folder,
            write_logs=False,
            progress=record,
        )

    def assert_same_as_uninterrupted(self) -> None:
        history = json.loads((self._uninterrupted / contract.HISTORY).read_text())
        info = json.loads((self._uninterrupted / contract.MODEL_INFO).read_text())
        assert self.history["epochs"] == history["epochs"]
        assert model_id(self.model, self._dataset) == info["model_id"]


def test_fit_resumes_after_errors(opened, tmp_path, uninterrupted) -> None:
    fits = Fits(opened, uninterrupted, tmp_path)
    last = 0
    for failing in (1, 10, 23):

        def fail(step: int, total: int, loss: float, failing: int = failing) -> None:
            if step == failing:
                raise RuntimeError("power cut")

        with pytest.raises(RuntimeError, match="power cut"):
            fits.fit(fail)
        # The step that failed was not saved; one of the last before it was.
        assert max(1, last - 3) <= fits.steps[0] <= max(1, last)
        last = failing
    fits.fit()
    assert last - 3 <= fits.steps[0] <= last
    assert fits.steps[-1] == 40
    fits.assert_same_as_uninterrupted()


def test_fit_saves_and_stops_on_sigterm(opened, tmp_path, uninterrupted) -> None:
    """In the middle of a part, at the end of one, which is still evaluated, and at the very end."""
    fits = Fits(opened, uninterrupted, tmp_path)
    first = 1
    for terminated in (17, 20, 40):

        def terminate(step: int, total: int, loss: float, terminated: int = terminated) -> None:
            if step == terminated:
                os.kill(os.getpid(), signal.SIGTERM)

        message = f"stopped at step {terminated} of 40, which is saved"
        with pytest.raises(PreemptedError, match=message):
            fits.fit(terminate)
        assert fits.steps == list(range(first, terminated + 1))
        first = terminated + 1
    fits.fit()
    assert fits.steps == []
    fits.assert_same_as_uninterrupted()


def test_train_resumes_after_sigkill(dataset, tmp_path, uninterrupted) -> None:
    """In a process of its own, killed shortly after step 21, wherever it is then."""
    model, code = (
        tmp_path / "model",
        (
            "import sys\n"
            "from tests.trainer.fit.test_resume import SETTINGS, train\n"
            "train.train(dataset_path=sys.argv[1], model_path=sys.argv[2], settings=SETTINGS,\n"
            "    progress=lambda step, *_: print(step, flush=True))\n"
        ),
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
        settings=SETTINGS,
        progress=lambda step, *_: steps.append(step),
    )
    assert 1 < steps[0] <= 23
    expected = json.loads((uninterrupted / contract.MODEL_INFO).read_text())
    assert info["model_id"] == expected["model_id"]
    assert info["metrics"] == expected["metrics"]
    assert not list(tmp_path.glob("*.training"))


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
