"""The environments are valid, and differ only where they must."""

import dataclasses
import json
import os
import pathlib
import re

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser
from typer.testing import CliRunner

from pipeline.config.load import Config, load_config
from pipeline.config.sections import BeamSettings

ENVIRONMENTS = pathlib.Path(__file__).parents[2] / "deploy" / "environments"
VARIABLES = {
    "NOCTURNE_PROJECT": "p",
    "NOCTURNE_REGION": "europe-west1",
    "NOCTURNE_BUCKET": "b",
    "NOCTURNE_TAG": "0.1.0",
    "NOCTURNE_SERVICE_PORT": "8099",
}


@pytest.fixture
def load(monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    return lambda name: load_config(str(ENVIRONMENTS / f"{name}.yaml"))


def test_the_environments_are_three() -> None:
    assert sorted(path.stem for path in ENVIRONMENTS.iterdir()) == ["dataflow", "emulator", "local"]


@pytest.mark.parametrize("name", ["local", "dataflow", "emulator"])
def test_an_environment_sets_only_beams_options(load, name: str) -> None:
    assert dataclasses.replace(load(name), beam=BeamSettings()) == Config()


@pytest.mark.parametrize("name", ["local", "dataflow", "emulator"])
@pytest.mark.parametrize("job", ["args", "prepare", "generate"])
def test_beam_knows_every_option(load, name: str, job: str) -> None:
    options = list(getattr(load(name).beam, job))
    parser = _BeamArgumentParser(allow_abbrev=False)
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(parser)
    parsed, unknown = parser.parse_known_args(options)
    assert unknown == []  # Beam itself ignores unknown options silently
    assert parsed.runner


def test_local_is_the_default(load) -> None:
    assert load("local") == Config()


def test_the_emulator_differs_from_dataflow_only_in_address_and_credentials(load) -> None:
    emulator, dataflow = load("emulator").beam, load("dataflow").beam
    assert emulator.prepare_args == dataflow.prepare_args
    assert emulator.generate_args == dataflow.generate_args
    assert [option for option in emulator.args if option not in dataflow.args] == [
        "--dataflow_endpoint=http://localhost:8099",
        "--no_auth",
    ]
    assert [option for option in dataflow.args if option not in emulator.args] == []


def test_an_environment_changes_only_beam_in_a_users_configuration(load, tmp_path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("train: {steps: 7}\naudio: {n_mels: 40}\n")
    before = load_config([str(mine)])
    after = load_config([str(mine), str(ENVIRONMENTS / "dataflow.yaml")])
    assert (after.train, after.audio) == (before.train, before.audio)
    assert after.beam == load("dataflow").beam
    back = load_config(
        [str(mine), str(ENVIRONMENTS / "dataflow.yaml"), str(ENVIRONMENTS / "local.yaml")]
    )
    assert back == before


def test_a_command_names_the_variable_that_an_environment_needs() -> None:
    from pipeline.cli.app import app

    variables = dict.fromkeys(VARIABLES) | {"PATH": os.environ["PATH"]}
    done = CliRunner().invoke(
        app,
        ["prepare", "--input", "x", "--output", "y", "--config",
         str(ENVIRONMENTS / "dataflow.yaml")],
        env=variables,
    )  # fmt: skip
    assert done.exit_code == 2
    assert "wants the environment variable NOCTURNE_PROJECT, which is not set" in done.output


def test_the_page_sets_the_variables_and_names_the_parameters() -> None:
    page = (ENVIRONMENTS.parents[1] / "docs" / "dataflow.md").read_text()
    used = set(re.findall(r"\$\{(\w+)\}", (ENVIRONMENTS / "dataflow.yaml").read_text()))
    exported = set(re.findall(r"(NOCTURNE_\w+)=", page))
    assert used == exported
    spec = json.loads((ENVIRONMENTS.parent / "images" / "flex_template.json").read_text())
    for parameter in spec["metadata"]["parameters"]:
        assert f"| `{parameter['name']}` |" in page
