"""The Beam job that generates clips, with a model that was really trained."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soundfile

from audio import contract
from audio.errors import IncompleteError, InputError, OutputExistsError
from generator import generate, render, sections
from generator.requests import GenerateSettings, derive_seed
from storage import outputs
from tests.support import signals

pytestmark = pytest.mark.slow

SETTINGS = GenerateSettings(clips=3, seconds=1.5, seed=7, temperature=0.5, iterations=4)


def run(model: pathlib.Path, output: pathlib.Path, settings: GenerateSettings = SETTINGS) -> Any:
    return generate.run(model_path=str(model), output=str(output), settings=settings)


def contents(folder: pathlib.Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def clips(model, tmp_path_factory) -> pathlib.Path:
    output = tmp_path_factory.mktemp("generated") / "clips"
    run(model, output)
    return output


def test_clips_are_readable_and_have_the_length_of_the_settings(clips) -> None:
    for index in range(3):
        samples, rate = soundfile.read(clips / f"clip-000{index}.wav")
        assert (rate, len(samples)) == (22050, round(1.5 * 22050))
        assert 0.001 < np.abs(samples).max() <= 10 ** (-1 / 20)


def test_manifest_describes_every_clip(clips, model) -> None:
    manifest = json.loads((clips / contract.MANIFEST).read_text())
    info = json.loads((model / contract.MODEL_INFO).read_text())
    assert manifest["model"]["model_id"] == info["model_id"]
    assert manifest["model"]["fingerprint"] == info["fingerprint"]
    assert manifest["generate"]["seed"] == 7
    assert [clip["file"] for clip in manifest["clips"]] == [f"clip-000{n}.wav" for n in range(3)]
    for clip in manifest["clips"]:
        content = (clips / clip["file"]).read_bytes()
        assert clip["bytes"] == len(content)
        assert clip["sha256"] == hashlib.sha256(content).hexdigest()
        assert "recording_id" in clip["primer"]
    assert sorted(contents(clips)) == [
        "COMPLETED",
        "clip-0000.wav",
        "clip-0001.wav",
        "clip-0002.wav",
        "effective_config.yaml",
        "manifest.json",
    ]


def test_a_clip_is_the_same_alone_and_in_a_batch_and_in_two_batches(clips, model, tmp_path) -> None:
    for count in (1, 9):
        run(model, tmp_path / str(count), dataclasses.replace(SETTINGS, clips=count))
        for index in range(min(count, 3)):
            name = f"clip-000{index}.wav"
            assert (tmp_path / str(count) / name).read_bytes() == (clips / name).read_bytes()


def test_clips_are_all_different(clips) -> None:
    assert len({(clips / f"clip-000{n}.wav").read_bytes() for n in range(3)}) == 3


@contextlib.contextmanager
def full_disk(failing: str) -> Iterator[None]:
    """Lets the publishing of a file fail, and expects that error."""
    publish = outputs.Folder.publish

    def fail(self: outputs.Folder, name: str, content: bytes) -> None:
        if name == failing:
            raise OSError("no space left")
        publish(self, name, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs.Folder, "publish", fail)
        with pytest.raises(Exception, match="no space left"):
            yield


def test_a_failure_leaves_no_marker_and_the_rerun_ends_in_the_same_bytes(
    clips, model, tmp_path
) -> None:
    output = tmp_path / "out"
    with full_disk("clip-0001.wav"):
        run(model, output)
    assert (output / "clip-0000.wav").exists()
    assert not (output / contract.COMPLETED).exists()
    assert not (output / contract.MANIFEST).exists()
    published = (output / "clip-0000.wav").stat().st_mtime_ns
    run(model, output)
    assert contents(output) == contents(clips)
    assert (output / "clip-0000.wav").stat().st_mtime_ns == published


def test_a_finished_run_is_not_changed(clips, model) -> None:
    before = contents(clips)
    with pytest.raises(OutputExistsError, match="already holds a finished run"):
        run(model, clips)
    assert contents(clips) == before


def test_an_unfinished_run_is_not_mixed_with_another(model, tmp_path) -> None:
    generate.start_run(outputs.Folder(str(tmp_path / "out")), "somemodel", SETTINGS)
    with pytest.raises(OutputExistsError, match="unfinished run"):
        run(model, tmp_path / "out")


def test_a_folder_with_other_files_is_not_changed(model, tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(OutputExistsError, match="not empty"):
        run(model, tmp_path)
    assert sorted(contents(tmp_path)) == ["thesis.txt"]


def test_a_users_primer_starts_every_clip(clips, model, tmp_path) -> None:
    path = signals.write(tmp_path / "mine.wav", signals.tune(seconds=3, seed=99))
    settings = dataclasses.replace(SETTINGS, primer=str(path))
    manifest = run(model, tmp_path / "out", settings)
    assert {clip["primer"]["file"] for clip in manifest["clips"]} == {str(path)}
    assert contents(tmp_path / "out")["clip-0000.wav"] != contents(clips)["clip-0000.wav"]


def test_without_a_primer_a_clip_starts_from_the_mean_and_keeps_the_style_of_a_primer(
    clips, model, tmp_path, monkeypatch
) -> None:
    calls = []
    roll_out = sections.roll_out

    def roll_out_and_note(model: Any, primers: np.ndarray, **kwargs: Any) -> np.ndarray:
        calls.append((primers, kwargs["anchors"]))
        return roll_out(model, primers, **kwargs)

    monkeypatch.setattr(sections, "roll_out", roll_out_and_note)
    run(model, tmp_path / "out", dataclasses.replace(SETTINGS, primer="none"))
    ((primers, anchors),) = calls
    own = np.load(model / contract.PRIMERS)["log_mel"].astype(np.float32)
    assert primers.shape == (3, 1, 32)
    np.testing.assert_allclose(primers[0, 0], own.mean(axis=(0, 1)), rtol=1e-5)
    assert all(any(np.array_equal(anchor, primer) for primer in own) for anchor in anchors)
    assert contents(tmp_path / "out")["clip-0000.wav"] != contents(clips)["clip-0000.wav"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"text", "not readable as audio"), ("short", "too short")],
)
def test_an_unusable_primer_is_refused_before_anything_is_written(
    model, tmp_path, content: bytes | str | None, message: str
) -> None:
    path = tmp_path / "mine.wav"
    if content == "short":
        signals.write(path, signals.tune(seconds=0.1))
    elif content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"mine\.wav: .*{message}"):
        run(model, tmp_path / "out", dataclasses.replace(SETTINGS, primer=str(path)))
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_model_is_refused(dataset, tmp_path) -> None:
    with pytest.raises(IncompleteError, match=r"saved_model\.pb is missing"):
        run(dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def faulty(*faults: int) -> Any:
    """Returns check_frames, but with a fault in each of its calls that has a 1 here."""
    check_frames = render.check_frames
    remaining = iter(faults)

    def check(frames: np.ndarray, config: Any) -> dict[str, Any]:
        health = check_frames(frames, config)
        return {**health, "faults": ["looping"]} if next(remaining) else health

    return check


def test_a_clip_with_a_fault_is_attempted_again_with_its_next_seed(
    clips, model, tmp_path, monkeypatch
) -> None:
    # The first two attempts at clip 1 have faults.
    monkeypatch.setattr(render, "check_frames", faulty(0, 1, 0, 1, 0))
    manifest = run(model, tmp_path / "out")
    seeds = [derive_seed(7, 1, attempt=n) for n in range(3)]
    assert manifest["clips"][1]["attempts"] == [
        {"seed": seeds[0], "faults": ["looping"]},
        {"seed": seeds[1], "faults": ["looping"]},
        {"seed": seeds[2], "faults": []},
    ]
    assert manifest["clips"][1]["seed"] == seeds[2]
    before, after = contents(clips), contents(tmp_path / "out")
    assert [before[f"clip-000{n}.wav"] == after[f"clip-000{n}.wav"] for n in range(3)] == [
        True,
        False,
        True,
    ]


def test_a_clip_with_faults_in_all_attempts_is_left_out(model, tmp_path, monkeypatch) -> None:
    settings = dataclasses.replace(SETTINGS, attempts=2, max_unhealthy_share=0.4)
    monkeypatch.setattr(render, "check_frames", faulty(0, 1, 0, 1))
    manifest = run(model, tmp_path / "out", settings)
    assert [clip["index"] for clip in manifest["clips"]] == [0, 2]
    (left_out,) = manifest["unhealthy"]
    assert left_out["index"] == 1
    assert [attempt["faults"] for attempt in left_out["attempts"]] == [["looping"]] * 2
    assert not (tmp_path / "out" / "clip-0001.wav").exists()


def test_a_run_with_too_many_faults_is_never_complete(model, tmp_path, monkeypatch) -> None:
    settings = dataclasses.replace(SETTINGS, attempts=2)
    monkeypatch.setattr(render, "check_frames", faulty(0, 1, 0, 1))
    message = r"1 of 3 clips had faults in all 2 attempts \(looping 2 times\); at most 25% may"
    for _ in range(2):
        with pytest.raises(generate.UnhealthyError, match=message):
            run(model, tmp_path / "out", settings)
    assert not (tmp_path / "out" / contract.MANIFEST).exists()
    assert not (tmp_path / "out" / contract.COMPLETED).exists()
    assert not (tmp_path / "out" / "clip-0001.wav").exists()


def test_a_file_has_tags(model, tmp_path) -> None:
    settings = dataclasses.replace(
        SETTINGS, clips=1, format="opus", loudness_lufs=-30.0, date="2026-11-22"
    )
    (clip,) = run(model, tmp_path / "out", settings)["clips"]
    info = json.loads((model / contract.MODEL_INFO).read_text())
    assert clip["file"] == "clip-0000.opus"
    assert clip["loudness_lufs"] == pytest.approx(-30, abs=0.01)
    with soundfile.SoundFile(tmp_path / "out" / clip["file"]) as file:
        assert (file.samplerate, len(file)) == (24000, 36000)
        assert file.title == "clip-0000"
        assert file.artist == f"Nocturne, model {info['model_id']}"
        assert file.comment == f"seed {clip['seed']}"
        assert file.date == "2026-11-22"


def test_each_clip_has_a_picture_and_a_lost_one_is_made_again(model, tmp_path) -> None:
    settings = dataclasses.replace(SETTINGS, clips=2, pictures=True)
    manifest = run(model, tmp_path / "out", settings)
    for clip in manifest["clips"]:
        content = (tmp_path / "out" / clip["picture"]["file"]).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert clip["picture"]["sha256"] == hashlib.sha256(content).hexdigest()
    expected = contents(tmp_path / "out")
    with full_disk("clip-0001.png"):
        run(model, tmp_path / "again", settings)
    (tmp_path / "again" / "clip-0000.png").unlink()
    run(model, tmp_path / "again", settings)
    assert contents(tmp_path / "again") == expected
