"""Configuration files as people write them: what is ambiguous is refused with line and key."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from audio.errors import UsageError
from pipeline.config.load import load_config
from tests.support.command import nocturne

BOMB = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"{this}: &{this} [*{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}]\n"
    for last, this in zip("abcdefghi", "bcdefghij", strict=True)
)


def load(tmp_path: pathlib.Path, content: str | bytes) -> Any:
    path = tmp_path / "config.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_config(str(path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "audio:\n  hop_length: 512\n  hop_length: 256\n",
            r"line 3: audio\.hop_length: hop_length is given a second time, after line 2",
        ),
        ("audio:\n  n_mels: 64\naudio:\n  fmin: 1\n", r"line 3: audio: audio is given a second"),
        ("audio: {n_mels: 64, n_mels: 32}\n", r"line 1: audio\.n_mels: n_mels is given a second"),
        (
            "train:\n  <<: {units: 8}\n  <<: {steps: 8}\n",
            r"line 3: train\.<<: << is given a second",
        ),
        (
            "audio:\n  hop_length: 0512\n",
            r"line 2: audio\.hop_length: 0512 is ambiguous.*Write 512",
        ),
        ("audio:\n  sample_rate: 022050\n", r"line 2: audio\.sample_rate: 022050 .*Write 22050"),
        (
            "audio: {n_mels: 8,\n hop_length: -012}\n",
            r"line 2: audio\.hop_length: -012 is ambiguous.*Write -12",
        ),
        ("audio:\n  sample_rate: 22:50\n", r"line 2: audio\.sample_rate: 22:50 is ambiguous"),
        ("audio:\n  fmin: 1:30.5\n", r"line 2: audio\.fmin: 1:30\.5 is ambiguous"),
        ("prepare:\n  chunk_frames: yes\n", r"line 2: prepare\.chunk_frames: wanted a whole num"),
        ("audio:\n  fmin: yes\n", r"line 2: audio\.fmin: wanted a number, 0 or more, got True"),
        ("train:\n  steps: on\n", r"line 2: train\.steps: wanted a whole number"),
        ("train:\n  learning_rate: true\n", r"line 2: train\.learning_rate: wanted a number"),
        ("tune:\n  space: {units: [on]}\n", r"line 2: tune\.space"),
        ("prepare:\n  min_seconds: .inf\n", r"line 2: prepare\.min_seconds: wanted a number"),
        ("generate:\n  loudness_lufs: -.inf\n", r"line 2: generate\.loudness_lufs: wanted"),
        ("train:\n  checkpoint_seconds: .nan\n", r"line 2: train\.checkpoint_seconds: wanted"),
        ("train:\n  learning_rate: 1e400\n", r"line 2: train\.learning_rate: 1e400 is larger"),
        ("tune:\n  space: {dropout: [.nan]}\n", r"line 2: tune\.space"),
        (f"train:\n  steps: 1{'0' * 60}\n", r"line 2: train\.steps: wanted 1 to below 2\*\*31"),
        (
            f"train:\n  patience: 1{'0' * 18}\n",
            r"line 2: train\.patience: wanted 0 to below 2\*\*31",
        ),
        (f"train:\n  steps: 1{'0' * 4400}\n", r"line 2: train\.steps: wanted a number, got one of"),
        (
            "prepare:\n  min_seconds: 2001-99-99\n",
            r"line 2: prepare\.min_seconds: 2001-99-99 is not",
        ),
        ("generate:\n  date: 2026-02-30\n", r"line 2: generate\.date: 2026-02-30 is not a date"),
        ("prepare:\n  min_seconds: 2001-01-01\n", r"line 2: prepare\.min_seconds: wanted a number"),
        ("audio: &x\n  n_mels: *x\n", r"line 1: audio: a value that contains itself"),
        ("audio: &x\n  n_mels: [*x, *x, *x]\n", r"line 1: audio: a value that contains itself"),
        (f"audio:\n  n_mels: {'[' * 3000}{']' * 3000}\n", r"line 2: audio\.n_mels: nested in more"),
        (f"{'{a: ' * 3000}1{'}' * 3000}\n", r"line 1: a\.a: nested in more"),
        (BOMB, r"line \d: .: stands for more than 10000 values"),
        ("audio:\n  n_mels: !!binary aGk=\n", r"line 2: audio\.n_mels: wanted text, got !!binary"),
        ("audio: !!python/object/apply:os.system ['true']\n", r"line 1: not YAML: could not"),
        *(
            (f"audio:\n  n_mels: !!{tag}\n", "not YAML: a value does not fit its tag")
            for tag in ("int abc", "int ''", "float x", "bool maybe", "timestamp x")
        ),
        ("audio:\n\tn_mels: 64\n", r"line 2: not YAML"),
        (
            "audio:\n  n_mels: 64\n---\naudio:\n  n_mels: 32\n",
            r"line 3: not YAML: but found another",
        ),
        (b"audio:\n  n_mels: 64\0\n", r"not YAML: unacceptable character #x0000"),
        ("# r\xe9glages\naudio: {}\n".encode("latin-1"), r"line 1: not UTF-8 text\. Save the file"),
        ("audio:\n  n_mels: 64 # r\xe9glages\n".encode("latin-1"), r"line 2: not UTF-8 text"),
        ("audio:\n  n_mels: 64\n".encode("utf-16"), r"line 1: not UTF-8 text"),
        (
            "audio:\n  n_melz: 64\n",
            r"line 2: unknown key audio\.n_melz; did you mean audio\.n_mels",
        ),
        ("audio: {}\ntrian: {}\n", r"line 2: unknown key trian; did you mean train\?"),
        ("audio: {}\ntrain: 5\n", r"line 2: train: wanted keys with values, got 5"),
        ("evaluate:\n  max_ratio: 2\n", r"line 2: evaluate\.max_ratio: this setting was removed"),
    ],
)
def test_what_is_ambiguous_or_impossible_is_refused_with_file_line_and_key(
    tmp_path, content: str | bytes, said: str
) -> None:
    with pytest.raises(UsageError, match=rf"^config {tmp_path}/config\.yaml, {said}") as caught:
        load(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_what_has_one_meaning_is_taken(tmp_path) -> None:
    config = load(
        tmp_path,
        b"\xef\xbb\xbftrain:\r\n  steps: 1e3\r\n  learning_rate: 1e-3\r\n  units: 1_0\r\n"
        b"audio:\r\n  log_floor: 1.5E-10\r\n  sample_rate: 0x5622\r\n  fmin: 012.5\r\n"
        b"generate:\r\n  date: 2026-11-22\r\n  pictures: yes\r\n  seed: 0\r\n"
        b"tune:\r\n  space: {units: &sizes [8, 16], n_layers: [1]}\r\n",
    )
    assert (config.train.steps, config.train.learning_rate, config.train.units) == (1000, 1e-3, 10)
    assert (config.audio.log_floor, config.audio.sample_rate) == (1.5e-10, 22050)
    assert config.audio.fmin == 12.5
    assert (config.generate.date, config.generate.pictures) == ("2026-11-22", True)
    assert list(config.tune.space["units"]) == [8, 16]


def test_a_section_can_be_reused_by_an_alias(tmp_path) -> None:
    config = load(tmp_path, "beam:\n  prepare_args: &a [--job_name=x]\n  generate_args: *a\n")
    assert config.beam.prepare_args == config.beam.generate_args == ("--job_name=x",)


def test_a_later_value_is_not_blamed_on_an_earlier_file(tmp_path) -> None:
    (tmp_path / "good.yaml").write_text("train:\n  steps: 5\n")
    with pytest.raises(UsageError, match=r"^train\.steps: wanted 1 to below 2\*\*31, got 0"):
        load_config(str(tmp_path / "good.yaml"), ["train.steps=0"])


def test_infinity_is_taken_where_it_means_no_limit() -> None:
    config = load_config(None, ["prepare.max_seconds_per_file=.inf"])
    assert config.prepare.max_seconds_per_file == float("inf")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("audio.hop_length=0512", r"--set audio\.hop_length=0512: .*0512 is ambiguous"),
        ("audio.fmin=yes", r"^audio\.fmin: wanted a number, 0 or more, got True"),
        ("audio.fmax=.inf", r"^audio\.fmax: wanted a number, or null, got inf"),
        ("audio.n_mels=[[", r"not YAML"),
        ("generate.date=2001-99-99", "is not a date"),
        (f"audio.n_mels={'[' * 3000}", "nested in more than"),
    ],
)
def test_an_override_is_read_as_strictly(override: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_config(None, [override])


def test_the_command_ends_with_exit_code_2(tmp_path) -> None:
    (tmp_path / "c.yaml").write_bytes("audio: # r\xe9glages\n".encode("latin-1"))
    done = nocturne("train", "--dataset", "d", "--model", "m", "--config", "c.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "nocturne: config c.yaml, line 1: not UTF-8 text. Save the file as UTF-8.\n"
    )
