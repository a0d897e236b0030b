"""Good and bad models get the right verdict, by the code that evaluates every model."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from audio import contract
from audio.config import AudioConfig
from audio.errors import UsageError
from beam_transforms import prepare
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_sources
from pipeline.config.sections import EvaluateSettings
from pipeline.demo.corpus import render_corpus
from pipeline.evaluation import evaluate, rollouts
from pipeline.evaluation.passages import read_whole_recordings
from pipeline.evaluation.verdict import REPORT, Verdict, format_table
from tests.support import signals
from tests.support.standin import PRIMER_FRAMES, stand_in
from tests.support.tiny import TINY
from trainer.data.windows import Dataset, open_dataset
from trainer.fit import train

pytestmark = pytest.mark.slow

Float32 = npt.NDArray[np.float32]

AUDIO = AudioConfig(n_mels=64)
SETTINGS = EvaluateSettings(rollouts=12, rollout_seconds=5)


@pytest.fixture(scope="module", autouse=True)
def remembered_vocoder() -> Iterator[None]:
    """The same real passages are compared with every model, and are vocoded once for all tests."""
    vocode, memory = rollouts._vocode, {}

    def remember(clips: Float32, audio: AudioConfig, numbers: Sequence[int] | None) -> Float32:
        key = (clips.tobytes(), tuple(numbers or ()))
        if key not in memory:
            memory[key] = vocode(clips, audio, numbers)
        return memory[key].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollouts, "_vocode", remember)
        yield


def prepared(inputs: pathlib.Path, output: pathlib.Path) -> pathlib.Path:
    prepare.run(
        sources=find_sources([str(inputs)]),
        output=str(output),
        audio=AUDIO,
        settings=PrepareSettings(eval_share=0.4, chunk_frames=200),
    )
    return output


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> pathlib.Path:
    """Twelve pieces of half a minute, prepared."""
    folder = tmp_path_factory.mktemp("corpus")
    render_corpus(folder / "music", pieces=12, bars=12)
    return prepared(folder / "music", folder / "dataset")


@pytest.fixture(scope="module")
def music(corpus) -> Dataset:
    return open_dataset(str(corpus))


@pytest.fixture(scope="module")
def continuing(music) -> Callable[[Float32, int, int], Float32]:
    """Plays another passage of the recording that the primer is from: as good as a model can be."""
    held_out = [recording.log_mel for recording in read_whole_recordings(music, contract.EVAL)]

    def play(primer: Float32, n_frames: int, seed: int) -> Float32:
        def misses(recording: Float32) -> float:
            windows = np.lib.stride_tricks.sliding_window_view(recording, PRIMER_FRAMES, axis=0)
            return float(np.abs(windows.transpose(0, 2, 1) - primer).mean(axis=(1, 2)).min())

        recording = min(held_out, key=misses)
        edge = len(recording) // 10
        start = np.random.default_rng(seed).integers(edge, len(recording) - edge - n_frames)
        return recording[start : start + n_frames]

    return play


def verdict_on(dataset: Dataset, play: Callable[[Float32, int, int], Float32]) -> Verdict:
    return evaluate.evaluate_model(stand_in(dataset, play), dataset, SETTINGS)


def failed(verdict: Verdict) -> str:
    assert not verdict.blessed
    return "\n".join(reason for reason in verdict.reasons if reason.startswith("FAIL"))


def test_a_model_that_plays_on_in_the_style_of_its_primer_is_blessed(music, continuing) -> None:
    verdict = verdict_on(music, continuing)
    assert verdict.blessed, verdict.reasons
    assert verdict == verdict_on(music, continuing)
    figures = verdict.figures
    assert figures["rollouts"] == len(verdict.clips) == 12
    assert figures["seconds"] == pytest.approx(5, abs=0.03)
    assert (
        figures["kernel_interval"][0] < figures["kernel_distance"] < figures["kernel_interval"][1]
    )
    assert figures["kernel_ratio"] < 0.5
    assert figures["diversity_ratio"] == pytest.approx(1, abs=0.25)
    assert figures["movement_ratio"] == pytest.approx(1, abs=0.15)
    assert figures["linear_mse_ratio"] < 1
    assert json.loads(verdict.to_json())["clips"][0]["nearest_uri"].endswith(".flac")
    assert len(format_table(verdict)) > 10


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda frames, rng: frames[::-1], "attack sharpness"),
        (lambda frames, rng: frames[rng.permutation(len(frames))], "movement is"),
        (lambda frames, rng: np.repeat(frames.mean(axis=0)[None], len(frames), axis=0), "drone"),
        (lambda frames, rng: np.resize(frames[:20], frames.shape), "loop"),
        (lambda frames, rng: frames - np.linspace(0, 12, len(frames))[:, None], "fading"),
        (lambda frames, rng: frames * 0 - 20, "dead"),
        (lambda frames, rng: frames * np.nan, "diverged"),
    ],
)
def test_each_kind_of_damage_is_noticed(music, continuing, spoil, said: str) -> None:
    def play(primer: Float32, n_frames: int, seed: int) -> Float32:
        return spoil(continuing(primer, n_frames, seed), np.random.default_rng(seed))

    assert said in failed(verdict_on(music, play))


def test_a_model_that_plays_the_same_after_every_seed_is_refused(music, continuing) -> None:
    def play(primer: Float32, n_frames: int, seed: int) -> Float32:
        return continuing(primer, n_frames, int(np.abs(primer).sum()))

    assert "two clips of one primer differ 0.00 times" in failed(verdict_on(music, play))


def test_a_model_that_plays_its_training_recordings_is_refused(music) -> None:
    training = list(read_whole_recordings(music, contract.TRAIN))

    def play(primer: Float32, n_frames: int, seed: int) -> Float32:
        rng = np.random.default_rng(seed)
        recording = training[rng.integers(len(training))].log_mel
        start = rng.integers(len(recording) - n_frames)
        frames = recording[start : start + n_frames]
        return frames + rng.normal(0, 0.2, frames.shape).astype(np.float32)

    verdict = verdict_on(music, play)
    assert "100% of stretches are copies of training recordings" in failed(verdict)
    assert {clip["nearest_uri"] for clip in verdict.clips} <= {
        recording.uri for recording in training
    }


MIXTURE = dataclasses.replace(TINY, head="mixture", units=32, n_layers=1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dataclasses.replace(TINY, steps=1, eval_every=1), "FAIL: "),
        (dataclasses.replace(TINY, units=64, steps=150, eval_every=150), "have a fault"),
    ],
    ids=["untrained", "next-frame MSE"],
)
def test_badly_trained_models_are_refused(corpus, tmp_path, settings, said: str) -> None:
    path = str(tmp_path / "model")
    train.train(dataset_path=str(corpus), model_path=path, settings=settings)
    assert said in failed(evaluate.evaluate(path, str(corpus), SETTINGS))


def test_a_model_trained_on_noise_is_refused(corpus, tmp_path) -> None:
    for index in range(4):
        signals.write(tmp_path / "in" / f"{index}.wav", signals.noise(seconds=12, seed=index))
    noise = prepared(tmp_path / "in", tmp_path / "noise")
    path = str(tmp_path / "model")
    settings = dataclasses.replace(MIXTURE, steps=40, eval_every=40)
    train.train(dataset_path=str(noise), model_path=path, settings=settings)
    said = failed(evaluate.evaluate(path, str(corpus), SETTINGS))
    assert "distance from real recordings is" in said


def test_some_rollouts_are_drawn(music, continuing, tmp_path) -> None:
    evaluate.evaluate_model(
        stand_in(music, continuing), music, SETTINGS, pictures=tmp_path / "pictures"
    )
    drawn = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert drawn == ["rollout-00.png", "rollout-03.png", "rollout-07.png", "rollout-11.png"]


def test_the_last_blessed_evaluation_is_found(tmp_path) -> None:
    paths = [tmp_path / str(index) / REPORT for index in range(4)]
    for index, blessed in enumerate((True, True, False)):
        paths[index].parent.mkdir()
        verdict = Verdict(blessed=blessed, reasons=(), figures={}, model_id=str(index))
        paths[index].write_text(verdict.to_json())
    last_blessed = evaluate.find_last_blessed(map(str, paths))
    assert last_blessed is not None
    assert last_blessed["model_id"] == "1"
    assert evaluate.find_last_blessed(map(str, paths[2:])) is None


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_file_that_is_no_evaluation_is_refused(tmp_path, text: str) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="not an evaluation"):
        evaluate.read_verdict(str(path))
