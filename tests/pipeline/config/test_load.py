import dataclasses
import json
import pathlib

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from typer.testing import CliRunner

from audio.errors import UsageError
from pipeline.config.load import Config, describe, json_schema, load_config

SECTIONS = [field.name for field in dataclasses.fields(Config)]
SCHEMA = pathlib.Path(__file__).parents[3] / "docs" / "config.schema.json"


def test_defaults_survive_the_way_through_yaml(tmp_path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(Config().to_yaml())
    assert load_config(str(path)) == Config()


def test_overrides_win_over_the_file(tmp_path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("train:\n  steps: 10\n  units: 32\naudio:\n  n_mels: 80\n")
    config = load_config(str(path), ["train.steps=20", "beam.args=[--runner=X]"])
    assert (config.train.steps, config.train.units, config.audio.n_mels) == (20, 32, 80)
    assert config.beam.args == ("--runner=X",)
    assert yaml.safe_load(config.to_yaml())["train"]["steps"] == 20


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.step=5", r"unknown key train\.step; did you mean train\.steps\?"),
        ("trian.steps=5", r"unknown key trian; did you mean train\?"),
        ("train.steps=0", r"train\.steps: wanted 1 to below 2\*\*31, got 0"),
        ("train.primer_frames=1", r"train\.primer_frames: wanted 2 to 1024, got 1"),
        (
            "train.steps=many",
            r"train\.steps: wanted a whole number, 1 to below 2\*\*31, got 'many'",
        ),
        ("audio.n_fft=7", r"audio\.n_fft"),
        ("prepare.eval_share=1", r"prepare\.eval_share: wanted 0 to below 1, got 1"),
        ("train.strategy=warp", r"train\.strategy: wanted one of auto, cpu"),
        ("report.price_per_hour=-1", r"report\.price_per_hour: wanted 0 to 1000000"),
        ("train.units=true", r"train\.units: wanted a whole number, 1 to 8192, got True"),
        ("tune.space={units: [8.5]}", r"tune\.space\.units: wanted a whole number, .* got 8\.5"),
        ("generate.date='\u2028'", r"generate\.date: wanted text on one line"),
        ("generate.sample_rate=44", r"generate\.sample_rate: wanted 0, or 8000 to 192000, got 44"),
        ("steps=5", r"wanted section\.key=value"),
        ("train.steps", r"wanted section\.key=value"),
    ],
)
def test_a_bad_override_is_refused_with_the_keys_name(override: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_config(None, [override])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a list", "wanted sections"),
        ("train: 5", "train: wanted keys with values, got 5"),
        ("a: [", "not YAML"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text: str, said: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        load_config(str(path))


def test_a_missing_file_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_config(str(tmp_path / "none.yaml"))


def test_a_later_file_wins_key_by_key(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NOCTURNE_PROJECT", "a-project")
    first, second = tmp_path / "mine.yaml", tmp_path / "cloud.yaml"
    first.write_text("train: {steps: 10, units: 32}\nbeam: {args: [--runner=X, --a]}\n")
    second.write_text(
        "train: {steps: 20}\n"
        "beam: {args: ['--project=${NOCTURNE_PROJECT}'], prepare_args: [--job_name=p]}\n"
    )
    config = load_config([str(first), str(second)], ["train.n_layers=1"])
    assert (config.train.steps, config.train.units, config.train.n_layers) == (20, 32, 1)
    assert config.beam.args == ("--project=a-project",)
    assert config.beam.prepare == ("--project=a-project", "--job_name=p")
    assert config.beam.generate == ("--project=a-project",)


def test_a_variable_that_is_not_set_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("NOCTURNE_PROJECT", raising=False)
    path = tmp_path / "cloud.yaml"
    path.write_text("beam: {args: ['--project=${NOCTURNE_PROJECT}']}\n")
    with pytest.raises(UsageError, match="environment variable NOCTURNE_PROJECT, which is not set"):
        load_config(str(path))


def test_there_are_at_most_70_settings() -> None:
    assert sum(len(describe(section)) for section in SECTIONS) <= 70


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_described_in_whole_sentences(section: str) -> None:
    for setting in describe(section):
        assert setting.description[0].isupper(), setting.key
        assert setting.description.endswith("."), setting.key
        assert "\n" not in setting.description
        assert setting.wanted
        assert setting.default == getattr(getattr(Config(), section), setting.key.partition(".")[2])


def test_a_refused_value_ends_a_command_with_exit_code_2() -> None:
    from pipeline.cli.app import app

    done = CliRunner().invoke(
        app, ["train", "--dataset", "d", "--model", "m", "--set", "train.units=true"]
    )
    assert done.exit_code == 2
    assert "train.units: wanted a whole number, 1 to 8192, got True" in done.output


@pytest.mark.parametrize("override", ["evaluate.min_attack_ratio=-.inf", "evaluate.max_ratio=.inf"])
def test_a_limit_that_was_removed_may_be_switched_off(override: str) -> None:
    assert load_config(None, [override]) == load_config(None, [])
    with pytest.raises(UsageError, match="this setting was removed"):
        load_config(None, [override.replace("-.inf", ".inf").replace("max_ratio=", "max_ratio=-")])


OLD = """
prepare: {shard_bytes: 64000000}
train: {residual: true, onset_classes: 12, steps_per_execution: 1, units: 32}
evaluate: {spread: null, min_ratio: 0.65}
generate: {section_seconds: 120.0, true_peak_db: -1.0}
metadata: {port: null}
"""


def test_the_configuration_of_an_earlier_version_is_accepted_where_it_means_the_same(
    tmp_path,
) -> None:
    path = tmp_path / "effective_config.yaml"
    path.write_text(OLD)
    assert load_config(str(path)) == load_config(None, ["train.units=32"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.residual=false", r"always True, got False\. Use train\.head=mse_frame"),
        ("prepare.min_level_db=-70", r"always -60\.0, got -70\. Remove it"),
        ("evaluate.max_ratio=2", r"always 1\.6, got 2\. Use evaluate\.min_score"),
        ("tune.algorithm=bayesian", r"always 'random', got 'bayesian'\. Remove it"),
        ("train.steps_per_execution=8", r"always 1, got 8\. It follows from train\.strategy"),
    ],
)
def test_a_setting_that_was_removed_is_refused_where_it_meant_something(override, said) -> None:
    with pytest.raises(UsageError, match=rf"this setting was removed; its value is {said}"):
        load_config(None, [override])


def test_the_schema_in_the_docs_is_the_configurations() -> None:
    """`python -c "from tests.pipeline.config.test_load import write; write()"` writes it."""
    assert json.loads(SCHEMA.read_text()) == json_schema()


def write() -> None:
    SCHEMA.write_text(json.dumps(json_schema(), indent=2) + "\n")


def test_the_schema_refuses_what_loading_refuses() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid(Config().plain())
    assert validator.is_valid({"train": None})
    assert not validator.is_valid({"train": {"unitz": 3}})
    assert not validator.is_valid({"train": {"units": 0}})
    assert not validator.is_valid({"trian": {}})
