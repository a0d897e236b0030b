"""The template's launch, run as Dataflow's launcher runs it, with a bucket on loopback."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from apache_beam.io.filesystems import FileSystems
from google.cloud.dataflow_v1beta3 import types

from audio.errors import UsageError
from pipeline.cli import flex_template
from tests.support import signals
from tests.support.dataflow_stub import ROOT, dataflow
from tests.support.gcs import CLIENTS

SPEC = (ROOT / "deploy" / "images" / "flex_template.json").read_text()
IMAGE = "europe-west1-docker.pkg.dev/p/nocturne/worker:0.1.0"


def spec() -> types.ContainerSpec:
    """The specification, read as the service reads it: an unknown field is an error."""
    text = SPEC.replace("@IMAGE@", IMAGE)
    return types.ContainerSpec.from_json(text, ignore_unknown_fields=False)


def test_the_specification_is_one_of_the_service_and_names_the_image_twice() -> None:
    found = spec()
    assert found.image == found.default_environment.sdk_container_image == IMAGE
    assert found.sdk_info.language == types.SDKInfo.Language.PYTHON


def test_its_parameters_are_those_that_the_launch_takes() -> None:
    actions = flex_template.parser()._actions
    wanted = {action.dest: not action.required for action in actions}
    assert {each.name: each.is_optional for each in spec().metadata.parameters} == wanted


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("input", ["gs://b/music", "gs://b/a/*.ogg, gs://c/b.wav"], ["music", "gs://b/m,x", ""]),
        ("output", ["gs://b/d"], ["/tmp/d", ""]),
        ("previous", ["", "gs://b/d"], ["d"]),
    ],
)
def test_its_patterns_let_pass_what_the_launch_takes(name: str, good, bad) -> None:
    (parameter,) = (each for each in spec().metadata.parameters if each.name == name)
    (pattern,) = parameter.regexes
    assert [text for text in good if not re.fullmatch(pattern, text)] == []
    assert [text for text in bad if re.fullmatch(pattern, text)] == []


def test_a_path_that_workers_cannot_see_is_refused() -> None:
    with pytest.raises(UsageError, match="/music: wanted a gs:// path"):
        flex_template.launch(["--input=gs://b/m,/music", "--output=gs://b/d"])


def _launch(bucket: str, arguments: list[str]) -> subprocess.CompletedProcess:
    """Runs the file that the image names, with the launcher's options behind the parameters."""
    options = [
        "--runner=DataflowRunner", "--project=nocturne-test", "--region=europe-west1",
        "--job_name=weekly", f"--temp_location={bucket}/temp",
        f"--staging_location={bucket}/staging", f"--template_location={bucket}/launch/job_object",
        f"--sdk_container_image={IMAGE}", "--no_auth",
    ]  # fmt: skip
    command = [sys.executable, str(ROOT / "deploy" / "images" / "launch.py"), *arguments, *options]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {
            "PYTHONPATH": str(ROOT), "GOOGLE_CLOUD_PROJECT": "nocturne-test"},
    )  # fmt: skip


@pytest.mark.slow
class TestALaunch:
    pytestmark = CLIENTS

    def test_writes_the_job_for_the_service_and_does_not_wait(self, tmp_path: pathlib.Path) -> None:
        signals.write(tmp_path / "a.ogg", signals.tune(seconds=3), format="OGG")
        with dataflow(tmp_path) as (bucket, _, submitted):
            with FileSystems.create(f"{bucket}/music/a.ogg") as song:
                song.write((tmp_path / "a.ogg").read_bytes())
            arguments = [f"--input={bucket}/music", f"--output={bucket}/dataset"]
            done = _launch(bucket, [*arguments, "--settings=audio.n_mels=40; prepare.eval_share=0"])
            assert done.returncode == 0, done.stderr[-3000:]
            with FileSystems.open(f"{bucket}/launch/job_object") as written:
                job = json.loads(written.read())
            with FileSystems.open(f"{bucket}/dataset/effective_config.yaml") as written:
                config = written.read().decode()
            refused = _launch(bucket, [*arguments, "--settings=audio.n_mel=40"])
            nothing = _launch(bucket, [f"--input={bucket}/none", f"--output={bucket}/other"])
        (pool,) = job["environment"]["workerPools"]
        images = {image["containerImage"] for image in pool["sdkHarnessContainerImages"]}
        assert job["name"] == "weekly"
        assert images == {IMAGE}
        assert "n_mels: 40" in config
        assert submitted == []  # the launcher hands the job over, not this program
        assert refused.returncode == 2
        assert "did you mean audio.n_mels?" in refused.stderr
        assert nothing.returncode == 3
