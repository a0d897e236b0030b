import pytest
import yaml

from audio.errors import UsageError
from pipeline.config.load import Config, load_config


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
        ("train.steps=0", r"train\.steps: wanted 1 or more, got 0"),
        ("train.primer_frames=1", r"train\.primer_frames: wanted 2 to 1024, got 1"),
        ("train.steps=many", r"train\.steps: .*valid integer.*'many'"),
        ("audio.n_fft=7", r"audio\.n_fft"),
        ("prepare.eval_share=1", r"prepare\.eval_share: wanted 0 to below 1, got 1"),
        ("train.strategy=warp", r"train\.strategy: wanted one of auto, cpu"),
        ("report.price_per_hour=-1", r"report\.price_per_hour: wanted 0 to 1000000"),
        ("steps=5", r"wanted section\.key=value"),
        ("train.steps", r"wanted section\.key=value"),
    ],
)
def test_a_bad_override_is_refused_with_the_keys_name(override: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_config(None, [override])


@pytest.mark.parametrize(
    ("text", "said"),
    [("- a list", "wanted sections"), ("train: 5", "train"), ("a: [", "not YAML")],
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
