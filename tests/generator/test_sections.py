"""Clips that are generated in sections."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pytest
import soundfile

from audio.errors import UsageError
from generator import generate, requests, sections
from generator.inference import load_model, roll_out
from generator.requests import GenerateSettings
from generator.sections import roll_out_sections, section_lengths, section_seed

pytestmark = pytest.mark.slow
LONG = GenerateSettings(clips=2, seconds=13, seed=3, temperature=0.5, iterations=2)


@pytest.fixture(autouse=True)
def _short_sections(monkeypatch) -> None:
    monkeypatch.setattr(requests, "SECTION_SECONDS", 5.0)


@pytest.fixture(scope="module")
def loaded(model: pathlib.Path) -> Any:
    return load_model(str(model))


def test_section_lengths_add_up_and_the_last_one_is_not_shorter(loaded) -> None:
    usual = loaded.audio.frames_for(5)
    for n_frames in (5, usual - 1, usual, 2 * usual - 1, 2 * usual, 7 * usual + 3):
        lengths = section_lengths(n_frames, loaded)
        assert sum(lengths) == n_frames
        assert all(length >= usual for length in lengths[1:])
        assert set(lengths[:-1]) <= {usual}


def test_a_section_continues_the_one_before_in_the_style_of_the_primer(loaded) -> None:
    primers = loaded.primers[:2]
    with roll_out_sections(
        loaded, primers, anchors=primers, seeds=[5, 6], settings=LONG
    ) as rolled_out:
        first, second = (np.array(section) for section in rolled_out)
    expected = roll_out(
        loaded,
        first[:, -256:],
        anchors=primers,
        seeds=[section_seed(5, 1), section_seed(6, 1)],
        n_frames=second.shape[1],
        temperature=0.5,
    )
    np.testing.assert_array_equal(second, expected)
    assert first.shape[1] + second.shape[1] == loaded.audio.frames_for(13) + 1


def test_every_section_keeps_the_style_of_the_primer(loaded, monkeypatch) -> None:
    anchors = []
    roll_out = sections.roll_out

    def roll_out_and_note(*args: Any, **kwargs: Any) -> np.ndarray:
        anchors.append(kwargs["anchors"])
        return roll_out(*args, **kwargs)

    monkeypatch.setattr(sections, "roll_out", roll_out_and_note)
    with roll_out_sections(
        loaded, loaded.primers[1:2], anchors=loaded.primers[:1], seeds=[5], settings=LONG
    ):
        assert len(anchors) == 2
    for anchor in anchors:
        np.testing.assert_array_equal(anchor, loaded.primers[:1])


def test_seeds_of_sections_differ_and_the_first_is_the_clips() -> None:
    assert section_seed(5, 0) == 5
    assert len({section_seed(seed, index) for seed in range(20) for index in range(20)}) == 400


def test_a_long_clip_is_complete_and_the_same_alone_and_in_a_batch(model, tmp_path) -> None:
    for count in (1, 2):
        generate.run(
            model_path=str(model),
            output=str(tmp_path / str(count)),
            settings=dataclasses.replace(LONG, clips=count),
        )
    one, two = (tmp_path / str(count) / "clip-0000.wav" for count in (1, 2))
    assert one.read_bytes() == two.read_bytes()
    samples, rate = soundfile.read(one)
    assert (len(samples), rate) == (13 * 22050, 22050)
    # Every second has sound, and no sample jumps where a section ends.
    seconds = np.abs(samples[: 13 * rate]).reshape(13, rate)
    assert (seconds.max(axis=1) > 0.003).all()
    at, around = 5 * rate, rate // 10
    steps = np.abs(np.diff(samples))
    assert steps[at - around : at + around].max() <= 1.5 * np.sort(steps)[-rate // 100]


def test_a_section_that_diverged_is_a_fault_of_its_clip_alone(model, tmp_path, monkeypatch) -> None:
    roll_out = sections.roll_out

    def roll_out_and_diverge(*args: Any, **kwargs: Any) -> np.ndarray:
        frames = np.array(roll_out(*args, **kwargs))
        frames[0, 50:] = np.nan
        return frames

    monkeypatch.setattr(sections, "roll_out", roll_out_and_diverge)
    settings = dataclasses.replace(LONG, attempts=1, max_unhealthy_share=0.5)
    manifest = generate.run(model_path=str(model), output=str(tmp_path / "out"), settings=settings)
    assert [entry["index"] for entry in manifest["clips"]] == [1]
    assert manifest["unhealthy"][0]["health"]["faults"] == ["not_finite"]


def test_a_vocoder_without_sections_is_refused_for_long_clips(model, tmp_path) -> None:
    settings = dataclasses.replace(LONG, vocoder="librosa")
    with pytest.raises(
        UsageError, match=r"librosa makes clips of at most 5 s, got generate.seconds=13"
    ):
        generate.run(model_path=str(model), output=str(tmp_path / "out"), settings=settings)
    assert not (tmp_path / "out").exists()
