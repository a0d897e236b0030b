"""The command as a user runs it: a process, its exit code, what it prints."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command

from audio import contract, errors
from pipeline.cli.app import app
from pipeline.config.load import Config
from tests.support import signals
from tests.support.command import NOCTURNE, nocturne, start_nocturne

COMMANDS = ["demo", "init", "doctor", "prepare", "card", "train", "evaluate", "generate", "trace",
            "report", "run", "prune"]  # fmt: skip
RUN_COMMANDS = ["run training", "run generation", "run blessed", "run nodes"]
LEAVES = [*(name for name in COMMANDS if name != "run"), *RUN_COMMANDS]


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, said: str) -> None:
    assert done.returncode == code, done.stderr
    assert re.search(said, done.stderr), done.stderr
    assert done.stderr.startswith("nocturne: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout + done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['nocturne', '--help']\n"
        "from pipeline.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'tensorflow', 'apache_beam', 'tfx', 'keras', 'numpy', 'librosa'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_help_lists_commands_in_the_order_of_a_day_and_cuts_no_summary(tmp_path) -> None:
    for command, names in (([], COMMANDS), (["run"], [name.split()[1] for name in RUN_COMMANDS])):
        done = nocturne(*command, "--help", cwd=tmp_path, COLUMNS="80")
        assert done.returncode == 0
        rows = done.stdout.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
        assert [row.split()[0] for row in rows] == names
        for row in rows:
            assert row.endswith(".")
            assert not row.endswith("...")


@pytest.mark.parametrize("command", LEAVES)
def test_help_of_every_command(tmp_path, command: str) -> None:
    done = nocturne(*command.split(), "-h", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == nocturne(*command.split(), "--help", cwd=tmp_path).stdout
    assert done.stdout.startswith(f"Usage: nocturne {command} ")
    assert f"Example: nocturne {command}" in done.stdout
    for type_name in ("<", "list[", "INTEGER", "FLOAT", "{generate"):
        assert type_name not in done.stdout
    found: Any = get_command(app)
    for name in command.split():
        found = found.commands[name]
    for parameter in found.params:
        assert parameter.help.endswith("."), parameter.name
    if "--set" in done.stdout:
        note = " ".join(done.stdout.partition("Settings: the configuration section")[2].split())
        sections = re.match(r"s? ?([a-z, ]+)\.", note)
        assert sections
        assert set(sections[1].split(", ")) <= vars(Config()).keys()
        assert "`nocturne init` writes" in note


def test_help_shows_the_defaults_of_the_settings(tmp_path, monkeypatch) -> None:
    settings = Config().generate
    for command in (["generate"], ["run", "generation"]):
        text = " ".join(nocturne(*command, "--help", cwd=tmp_path).stdout.split())
        assert f"Number of clips. The default is {settings.clips}." in text
        assert f"in seconds. The default is {settings.seconds:g}." in text
        assert f"The default is {settings.seed}." in text
        assert f"The default is {settings.format}." in text


def test_version(tmp_path) -> None:
    done = nocturne("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert re.fullmatch(r"nocturne \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.slow
def test_three_stages_by_themselves_without_tfx(tmp_path, recordings) -> None:
    small = ["--set", "audio.n_mels=32", "--set", "prepare.chunk_frames=200"]
    command = ["prepare", "--input", recordings, "--output", "data", "--pictures", "3", *small]
    done = start_nocturne(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pictures = sorted((tmp_path / "data" / "pictures").iterdir())
    assert [path.name.split("-")[0] for path in pictures] == ["eval", "train", "train"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    card = nocturne("card", "data", cwd=tmp_path)
    assert "bandwidth_hz" in card.stdout
    assert card.stdout.strip() in done.stdout
    assert "6 files, 0 rejected, 0 duplicates" in done.stdout
    assert "W0000" not in done.stdout + done.stderr  # TensorFlow's noise is in the log
    tiny = "units=12 window_frames=64 batch_windows=4 steps=6 eval_every=3 primer_frames=16"
    sets = [part for one in tiny.split() for part in ("--set", f"train.{one}")]
    done = nocturne("train", "--dataset", "data", "--model", "model", *sets, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "best step" in done.stdout
    config = (tmp_path / "model" / "assets.extra" / contract.EFFECTIVE_CONFIG).read_text()
    assert "units: 12" in config
    done = start_nocturne(
        "generate", "--model", "model", "--output", "clips", "--clips", 2, "--seconds", 1,
        "--seed", 0, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "clips/clip-0001.wav" in done.stdout
    done = nocturne("trace", "clips/clip-0001.wav", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "trained    on 5 recordings" in done.stdout
    found = json.loads(nocturne("trace", "clips/clip-0001.wav", "--json", cwd=tmp_path).stdout)
    rows = (tmp_path / "data" / contract.RECORDINGS).read_text().splitlines()
    assert found["dataset"]["recordings"] == [json.loads(row) for row in rows]
    few = ("--set", "evaluate.rollouts=6", "--set", "evaluate.rollout_seconds=1")
    judge = ("evaluate", "--model", "model", "--dataset", "data", *few, "--output", "judged")
    done = nocturne(*judge, cwd=tmp_path)
    assert done.returncode == errors.CannotJudgeError.exit_code
    assert "1 held-out recordings" in done.stdout
    assert "model: The model cannot be judged" in done.stderr
    assert sorted(path.name for path in (tmp_path / "judged").iterdir()) == [
        "effective_config.yaml", "evaluation.json", "pictures",
    ]  # fmt: skip
    assert len(list((tmp_path / "judged" / "pictures").glob("*.png"))) == 4
    verdict = json.loads((tmp_path / "judged" / "evaluation.json").read_text())
    assert verdict["outcome"] == "cannot be judged"
    accepted = (*judge[:-1], "accepted", "--accept-unjudged")
    assert nocturne(*accepted, cwd=tmp_path).returncode == 0
    # Finished outputs are left alone.
    done = nocturne(*judge, cwd=tmp_path)
    assert_one_line(done, errors.OutputExistsError.exit_code, "judged already exists")
    for arguments in (
        ("prepare", "--input", recordings, "--output", "data"),
        ("train", "--dataset", "data", "--model", "model"),
        ("generate", "--model", "model", "--output", "clips"),
    ):
        done = nocturne(*arguments, cwd=tmp_path)
        assert_one_line(done, errors.OutputExistsError.exit_code, "already holds a")
    (tmp_path / "data" / contract.COMPLETED).unlink()
    done = nocturne("train", "--dataset", "data", "--model", "other", cwd=tmp_path)
    assert_one_line(done, errors.IncompleteError.exit_code, "COMPLETED is missing")
    assert not (tmp_path / "other").exists()


def test_a_list_of_inputs_and_a_retry_of_what_was_rejected(tmp_path) -> None:
    for index in range(3):
        signals.write(tmp_path / "in" / f"{index}\n.wav", signals.tune(seconds=3, seed=index))
    (tmp_path / "in" / "late.wav").write_text("not copied yet")
    names = [str(path) for path in (tmp_path / "in").iterdir()]
    (tmp_path / "list").write_text("\0".join(names))
    allow = ["--set", "prepare.max_rejected_share=0.5"]
    done = nocturne("prepare", "--input-list", "list", "--output", "v1", *allow, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 files, 1 rejected" in done.stdout
    assert "late.wav: not readable as audio" in done.stdout
    signals.write(tmp_path / "in" / "late.wav", signals.tune(seconds=3, seed=9))
    done = nocturne("prepare", "--retry-rejected", "v1", "--output", "v2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 files, 0 rejected" in done.stdout
    done = nocturne("prepare", "--output", "v3", cwd=tmp_path)
    assert_one_line(done, 2, "wanted either --input")


@pytest.mark.slow
def test_a_model_and_a_dataset_of_different_front_ends(tmp_path, model, recordings) -> None:
    done = nocturne(
        "prepare", "--input", recordings, "--output", "data", "--set", "audio.n_mels=40",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = nocturne("evaluate", "--model", model, "--dataset", "data", cwd=tmp_path)
    assert_one_line(done, errors.ConfigMismatchError.exit_code, r"[0-9a-f]{12}.*[0-9a-f]{12}")


@pytest.mark.parametrize(
    ("start", "args", "code", "said"),
    [  # one new process for each exit code; the others run in this process, which is faster
        (start_nocturne, "prepare --input none --output out", 3, "input not found: none"),
        (nocturne, "prepare --input empty --output out", 3, "no audio found in empty"),
        (nocturne, "prepare --input text.wav --output out", 3, "none of 1 files could be used"),
        (nocturne, "prepare --input good.wav --output out --set prepare.evil=1", 2, "prepare.evil"),
        (start_nocturne, "train --dataset empty --model out", 4, "COMPLETED is missing"),
        (nocturne, "generate --model empty --output out", 4, "saved_model.pb is missing"),
        (
            nocturne,
            "evaluate --model empty --dataset empty --against text.wav",
            2,
            "not an evaluation",
        ),
        (start_nocturne, "generate --model empty --output out --clips 0", 2, "generate.clips"),
        (nocturne, "run training --input none --root out", 3, "input not found: none"),
        (start_nocturne, "run generation --root none --output out", 8, "no blessed model"),
        (nocturne, "trace good.wav", 9, "no manifest.json beside it"),
        (start_nocturne, "trace none.wav", 9, "no such file"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, start, args: str, code: int, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.wav").write_text("this is not audio")
    signals.write(tmp_path / "good.wav", signals.tune(seconds=3))
    assert_one_line(start(*args.split(), cwd=tmp_path), code, said)
    assert not (tmp_path / "out" / contract.COMPLETED).exists()
    assert not (tmp_path / "out" / "saved_model.pb").exists()


@pytest.mark.slow
def test_every_stage_works_in_a_folder_whose_name_looks_like_a_pattern(
    tmp_path, recordings, model
) -> None:
    odd = tmp_path / "set [v1] * ? 100% #2 é"
    shutil.copytree(recordings, odd / "in [x]")
    shutil.copytree(model, odd / "mo[d]el")
    data, clips = f"{odd}/data [1]*", f"{odd}/cl?ips"
    small = ["--set", "audio.n_mels=32", "--set", "prepare.chunk_frames=200", "--set",
             "prepare.eval_share=0.34"]  # fmt: skip
    for code, *command in (
        (0, "prepare", "--input", odd / "in [x]", "--output", data, "--pictures", 1, *small),
        (0, "card", data),
        (0, "prepare", "--input", odd / "in [x]", "--output", f"{odd}/[2]", "--previous", data,
         *small),
        (0, "prepare", "--retry-rejected", data, "--output", f"{odd}/[3]", *small),
        (0, "generate", "--model", odd / "mo[d]el", "--output", clips, "--clips", 1,
         "--seconds", 1, "--primer", f"{odd}/in [x]/0.wav"),
        (6, "generate", "--model", odd / "mo[d]el", "--output", clips),
        (0, "trace", f"{clips}/clip-0000.wav"),
        (13, "evaluate", "--model", odd / "mo[d]el", "--dataset", data, "--output", f"{odd}/[e]"),
    ):  # fmt: skip
        done = nocturne(*command, cwd=tmp_path)
        assert done.returncode == code, (command, done.stderr)
    infos = [
        json.loads(pathlib.Path(odd, name, contract.DATASET_INFO).read_text())["dataset_id"]
        for name in ("data [1]*", "[2]", "[3]")
    ]
    assert len(set(infos)) == 1


def path_options() -> list[tuple[str, str]]:
    """Every option and argument of every command that takes a path."""
    found = []
    for name in LEAVES:
        command: Any = get_command(app)
        for part in name.split():
            command = command.commands[part]
        found += [(name, one.opts[0]) for one in command.params if one.metavar == "PATH"]
    return found


@pytest.mark.parametrize(("command", "option"), path_options())
def test_a_path_on_an_unknown_file_system_is_refused_before_any_work(
    tmp_path, command: str, option: str
) -> None:
    for url in ("s3://bucket/x", "hdfs://host/x"):
        arguments = [option, url] if option.startswith("--") else [url]
        needed = [
            part
            for name, each in path_options()
            if name == command and each != option
            for part in ([each, "x"] if each.startswith("--") else ["x"])
        ]
        if command in ("run blessed", "run nodes"):
            needed += ["--run-id", "x"] if command == "run blessed" else ["training"]
        done = nocturne(*command.split(), *needed, *arguments, cwd=tmp_path)
        assert_one_line(done, 2, rf"wanted a path on this machine.*got {url}\. Copy the files")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    ["demo", "run training --input in", "run generation --output out", "report", "prune"],
)
def test_a_root_that_tfx_takes_for_a_pattern_is_refused_before_any_work(
    tmp_path, command: str
) -> None:
    done = nocturne(*command.split(), "--root", "songs [2026]", cwd=tmp_path)
    assert_one_line(done, 2, r"--root: TFX finds its files by patterns.*songs \[2026\]")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["generate.primer", "train.warm_start"])
def test_a_setting_on_an_unknown_file_system_is_refused(tmp_path, key: str) -> None:
    command = "generate --model m --output o" if key[0] == "g" else "train --dataset d --model m"
    done = nocturne(*command.split(), "--set", f"{key}=s3://bucket/x", cwd=tmp_path)
    assert_one_line(done, 2, rf"{key}: wanted a path on this machine or gs://")
    assert not list(tmp_path.iterdir())


def test_a_list_may_come_from_windows(tmp_path) -> None:
    for index in range(2):
        signals.write(tmp_path / "in" / f"é {index}.wav", signals.tune(seconds=3, seed=index))
    names = "\r\n".join(f"{tmp_path}/in/é {index}.wav" for index in range(2)) + "\r\n"
    command = ("prepare", "--output", "out", "--dry-run", "--input-list", "list.txt")
    for content in (names.encode(), b"\xef\xbb\xbf" + names.encode()):
        (tmp_path / "list.txt").write_bytes(content)
        done = nocturne(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "would read 2 files" in done.stdout
    (tmp_path / "list.txt").write_bytes(names.encode("utf-16"))
    assert_one_line(nocturne(*command, cwd=tmp_path), 3, "list list.txt: not UTF-8 text")
    (tmp_path / "list.txt").write_text("s3://bucket/a.wav\n")
    assert_one_line(nocturne(*command, cwd=tmp_path), 2, "--input-list list.txt: wanted a path")


@pytest.mark.slow
def test_a_clip_that_was_altered_is_not_traced(tmp_path, model) -> None:
    from generator import generate
    from generator.requests import GenerateSettings

    settings = GenerateSettings(clips=1, seconds=1, iterations=2)
    generate.run(model_path=str(model), output=str(tmp_path / "clips"), settings=settings)
    clip = tmp_path / "clips" / "clip-0000.wav"
    clip.write_bytes(clip.read_bytes()[:-2] + b"\x00\x01")
    assert_one_line(nocturne("trace", clip, cwd=tmp_path), 9, "was modified after it was generated")


@pytest.mark.slow
def test_doctor_finds_everything_on_this_machine(tmp_path) -> None:
    done = start_nocturne("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for name in ("Nocturne", "Python", "glibc", "cores", "tensorflow", "ml_metadata", "memory",
                 "disk", "GPUs", "Google Cloud credentials", "Nothing is missing"):  # fmt: skip
        assert name in done.stdout


def test_the_docs_list_every_exit_code() -> None:
    page = pathlib.Path(__file__).parents[3] / "docs" / "files_and_exit_codes.md"
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", page.read_text(), re.MULTILINE)}
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    assert {one.exit_code for one in classes if issubclass(one, errors.NocturneError)} <= table
    assert {0, 10, 11, 75, 130} <= table


def test_the_command_is_the_installed_one() -> None:
    assert NOCTURNE.exists()
    assert shutil.which(str(NOCTURNE))
