"""Good and bad models get the right verdict, by the code that evaluates every model."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

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
from pipeline.evaluation import controls, evaluate, rollouts
from pipeline.evaluation.verdict import (
    _DESCRIPTIONS,
    BLESSED,
    CANNOT_BE_JUDGED,
    REFUSED,
    REPORT,
    Verdict,
    format_table,
)
from tests.support.standin import PRIMER_FRAMES, stand_in
from tests.support.tiny import TINY
from trainer.data.passages import read_whole_recordings
from trainer.data.transform_graph import fit_transform_graph
from trainer.data.windows import Dataset, open_dataset
from trainer.fit import train

pytestmark = pytest.mark.slow

Float32 = npt.NDArray[np.float32]

AUDIO = AudioConfig(n_mels=64)
SETTINGS = EvaluateSettings(rollouts=12, rollout_seconds=5)


@pytest.fixture(scope="module", autouse=True)
def remembered_clips() -> Iterator[None]:
    """The same real passages are compared with every model, and are measured once for all tests."""
    measure, memory = rollouts.measure_clips, {}

    def remember(frames: Float32, *arguments: Any) -> rollouts.Clips:
        key = (frames.tobytes(), repr(arguments))
        if key not in memory:
            memory[key] = measure(frames, *arguments)
        return memory[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollouts, "measure_clips", remember)
        yield


def prepared(
    inputs: pathlib.Path, output: pathlib.Path, *, eval_share: float = 0.5
) -> pathlib.Path:
    prepare.run(
        sources=find_sources([str(inputs)]),
        output=str(output),
        audio=AUDIO,
        settings=PrepareSettings(eval_share=eval_share, chunk_frames=200),
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


@pytest.fixture(scope="module")
def model_path(music, tmp_path_factory) -> str:
    """A folder with the Transform graph of a model, from which the controls are trained."""
    folder = tmp_path_factory.mktemp("model")
    fit_transform_graph(
        f"{music.path}/{contract.split_folder(contract.TRAIN)}/*",
        str(folder / contract.TRANSFORM_GRAPH),
        custom_config={"n_mels": AUDIO.n_mels, "model_floor": TINY.model_floor},
        temporary=str(folder / "beam"),
    )
    return str(folder)


@pytest.fixture(scope="module")
def verdict_on(music, model_path) -> Callable[[Callable[[Float32, int, int], Float32]], Verdict]:
    def verdict_on(play: Callable[[Float32, int, int], Float32]) -> Verdict:
        model = stand_in(music, play, path=model_path)
        return evaluate.evaluate_model(model, music, SETTINGS)

    return verdict_on


def failed(verdict: Verdict) -> str:
    assert verdict.outcome == REFUSED, verdict.sentence
    return "\n".join(reason for reason in verdict.reasons if reason.startswith("FAIL"))


def test_a_model_that_plays_on_in_the_style_of_its_primer_is_blessed(
    verdict_on, continuing, music
) -> None:
    verdict = verdict_on(continuing)
    assert verdict.outcome == BLESSED, verdict.reasons
    figures = verdict.figures
    assert figures["rollouts"] == len(verdict.clips) == 12
    assert figures["seconds"] == pytest.approx(5, abs=0.03)
    assert min(score["score"] for score in figures["scores"].values()) > 0.8
    assert set(figures["scores"]) == {
        controls.NOISE, controls.FROZEN, controls.SHUFFLED_SHORT, controls.SHUFFLED_LONG,
        controls.UNTRAINED, controls.FEW_STEPS,
    }  # fmt: skip
    assert set(figures["scores"]) == set(_DESCRIPTIONS), "each has words for people"
    assert figures["difference"] == pytest.approx(figures["real_difference"], rel=0.25)
    assert figures["linear_mse_ratio"] < 1
    assert json.loads(verdict.to_json())["clips"][0]["nearest_uri"].endswith(".flac")
    assert len(format_table(verdict)) > 20


def test_the_same_evaluation_gives_the_same_digits_with_a_whole_or_a_damaged_cache(
    verdict_on, continuing, music
) -> None:
    first = verdict_on(continuing)
    (cache,) = pathlib.Path(music.path, controls.CACHE).iterdir()
    assert verdict_on(continuing).to_json() == first.to_json()
    whole = cache.read_bytes()
    for damaged in (b"", b"no archive", whole[: len(whole) // 2]):
        cache.write_bytes(damaged)
        assert controls._read_cache(str(cache)) is None
    assert verdict_on(continuing).to_json() == first.to_json()
    assert cache.read_bytes() == whole


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda frames, rng: frames[::-1], "attacks steeper than decays"),
        (lambda frames, rng: frames[rng.permutation(len(frames))], "partials that last 0.1 s"),
        (lambda frames, rng: np.repeat(frames.mean(axis=0)[None], len(frames), axis=0), "drone"),
        (lambda frames, rng: np.resize(frames[:20], frames.shape), "loop"),
        (lambda frames, rng: frames - np.linspace(0, 12, len(frames))[:, None], "fading"),
        (lambda frames, rng: frames * 0 - 20, "dead"),
        (lambda frames, rng: frames * np.nan, "diverged"),
    ],
)
def test_each_kind_of_damage_is_noticed(verdict_on, continuing, spoil, said: str) -> None:
    def play(primer: Float32, n_frames: int, seed: int) -> Float32:
        return spoil(continuing(primer, n_frames, seed), np.random.default_rng(seed))

    assert said in failed(verdict_on(play))


@pytest.mark.parametrize("name", ["noise", "frozen", "shuffled"])
def test_each_control_is_refused_if_it_is_passed_off_as_a_model(
    verdict_on, music, name: str
) -> None:
    frames = np.concatenate(
        [recording.log_mel for recording in read_whole_recordings(music, contract.TRAIN)]
    )
    mean, deviation = frames.mean(axis=0), frames.std(axis=0)

    def play(primer: Float32, n_frames: int, seed: int) -> Float32:
        rng = np.random.default_rng(seed)
        if name == "noise":
            return mean + deviation * rng.standard_normal((n_frames, len(mean))).astype(np.float32)
        if name == "frozen":
            return np.repeat(primer[-1:], n_frames, axis=0)
        starts = rng.integers(len(frames) - 6, size=n_frames // 6 + 1)
        return np.concatenate([frames[start : start + 6] for start in starts])[:n_frames]

    assert "real music" in failed(verdict_on(play))


def test_a_model_that_plays_the_same_after_every_seed_is_refused(verdict_on, continuing) -> None:
    def play(primer: Float32, n_frames: int, seed: int) -> Float32:
        return continuing(primer, n_frames, int(np.abs(primer).sum()))

    assert "two rollouts of one primer differ by 0.0" in failed(verdict_on(play))


def test_a_model_that_plays_its_training_recordings_is_refused(verdict_on, music) -> None:
    training = list(read_whole_recordings(music, contract.TRAIN))

    def play(primer: Float32, n_frames: int, seed: int) -> Float32:
        rng = np.random.default_rng(seed)
        recording = training[rng.integers(len(training))].log_mel
        start = rng.integers(len(recording) - n_frames)
        frames = recording[start : start + n_frames]
        return frames + rng.normal(0, 0.2, frames.shape).astype(np.float32)

    verdict = verdict_on(play)
    assert "100% of the stretches are copies of training recordings" in failed(verdict)
    assert verdict.figures["longest_copy_seconds"] > 2.5
    assert {clip["nearest_uri"] for clip in verdict.clips} <= {
        recording.uri for recording in training
    }


MIXTURE = dataclasses.replace(TINY, head="mixture", units=32, n_layers=1)


@pytest.mark.parametrize(
    "settings",
    [
        dataclasses.replace(MIXTURE, steps=6, eval_every=6, seed=3),
        dataclasses.replace(TINY, units=64, steps=150, eval_every=150),
    ],
    ids=["six steps", "next-frame MSE"],
)
def test_badly_trained_models_are_refused(corpus, tmp_path, settings) -> None:
    path = str(tmp_path / "model")
    train.train(dataset_path=str(corpus), model_path=path, settings=settings)
    assert "between model after 6 steps (0)" in failed(
        evaluate.evaluate(path, str(corpus), SETTINGS)
    )


def test_a_minute_and_a_half_of_held_out_music_is_too_little_to_judge(
    corpus, tmp_path, continuing
) -> None:
    folder = prepared(corpus.parent / "music", tmp_path / "dataset", eval_share=0.17)
    dataset = open_dataset(str(folder))
    verdict = evaluate.evaluate_model(stand_in(dataset, continuing), dataset, SETTINGS)
    assert verdict.outcome == CANNOT_BE_JUDGED
    assert "3 held-out recordings with 99 s in all are too few" in verdict.sentence
    assert verdict.clips
    assert not (folder / controls.CACHE).exists()


def test_some_rollouts_are_drawn(music, model_path, continuing, tmp_path) -> None:
    evaluate.evaluate_model(
        stand_in(music, continuing, path=model_path),
        music,
        SETTINGS,
        pictures=tmp_path / "pictures",
    )
    drawn = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert drawn == ["rollout-00.png", "rollout-03.png", "rollout-07.png", "rollout-11.png"]


def judge_like(blessed: bool, model_id: str) -> Verdict:
    return Verdict(
        outcome=BLESSED if blessed else REFUSED,
        accepted=False,
        sentence="",
        advice="",
        reasons=(),
        figures={},
        model_id=model_id,
    )


def test_the_last_blessed_evaluation_is_found(tmp_path) -> None:
    paths = [tmp_path / str(index) / REPORT for index in range(4)]
    for index, blessed in enumerate((True, True, False)):
        paths[index].parent.mkdir()
        verdict = judge_like(blessed, model_id=str(index))
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
