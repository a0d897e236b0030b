"""The DAGs in Airflow: what they import, what they call, what they do when something fails."""

from __future__ import annotations

import ast
import json
import pathlib
import subprocess
import sys

import pytest

from tests.support.airflow_home import AIRFLOW, DAGS, Home, make_home, require_airflow, webhook

# Stands for the command line: keeps what it was called with, and fails as it is told.
STUB = """#!/usr/bin/env bash
printf '%s\\0' "$@" >>"$CALLS"; printf '\\n' >>"$CALLS"
count=$(grep -ac -- "--only=$NODE" "$CALLS" || true)
if [[ "$NODE=$count" =~ ^($FAILS)$ ]]; then exit "${FAILS_WITH:-1}"; fi
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("airflow")
    stub = folder / "nocturne"
    stub.write_text(STUB)
    stub.chmod(0o755)
    return make_home(
        folder,
        NOCTURNE_COMMAND=str(stub),
        NOCTURNE_CONFIG=str(folder / "my config.yaml"),
        CALLS=str(folder / "calls"),
        FAILS="nothing",
    )


def calls(home: Home) -> list[list[str]]:
    """Returns what the command line was called with, and forgets it."""
    path = home.folder / "calls"
    lines = path.read_bytes().split(b"\0\n")[:-1] if path.exists() else []
    path.unlink(missing_ok=True)
    return [line.decode().split("\0") for line in lines]


def options(call: list[str]) -> dict[str, str]:
    """Returns a call's options."""
    return dict(part.removeprefix("--").split("=", 1) for part in call[2:])


@pytest.mark.parametrize("path", sorted(DAGS.glob("*.py")), ids=lambda path: path.name)
def test_dags_import_the_standard_library_and_airflow_alone(path: pathlib.Path) -> None:
    allowed = {*sys.stdlib_module_names, "airflow", *(each.stem for each in DAGS.glob("*.py"))}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert {name.name.split(".")[0] for name in node.names} <= allowed
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.module.split(".")[0] in allowed


def python_of_airflow(
    folder: pathlib.Path, code: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Runs Python code where Airflow is, with nothing of this project on its path."""
    require_airflow()
    return subprocess.run(
        [str(AIRFLOW.with_name("python")), "-c", code, *arguments],
        capture_output=True, text=True, check=False, cwd=folder,
        env={"PATH": "/usr/bin:/bin", "AIRFLOW_HOME": str(folder), "HOME": str(folder)},
    )  # fmt: skip


PARSE = """
import sys, time
sys.path.insert(0, sys.argv[1])
import nocturne_tasks  # with what it takes of Airflow, once a process
began = time.monotonic()
import nocturne_training, nocturne_generation
assert time.monotonic() - began < 1, time.monotonic() - began
"""


@pytest.mark.slow
def test_dags_parse_in_a_moment(tmp_path) -> None:
    done = python_of_airflow(tmp_path, PARSE, str(DAGS))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_night_is_of_its_date_and_one_task_a_node(home) -> None:
    done = home.run("nocturne_generation", "2026-11-20", {"clips": 3, "temperature": 0.7})
    assert done.returncode == 0, done.stdout
    found = [options(call) for call in calls(home)]
    assert [each.pop("only") for each in found] == ["LatestBlessedModel", "BatchGenerator"]
    assert found[0] == found[1]
    assert found[0].pop("run-id").startswith("nocturne_generation.")
    assert found[0] == {
        "root": str(home.folder / "root"), "output": str(home.folder / "clips" / "2026-11-20"),
        "date": "2026-11-20", "seed": "20261120", "clips": "3", "seconds": "10.0",
        "format": "wav", "temperature": "0.7", "config": str(home.folder / "my config.yaml"),
    }  # fmt: skip


@pytest.mark.slow
def test_params_decide_over_the_logical_date(home) -> None:
    conf = {"date": "2025-01-02", "seed": 0, "format": "opus"}
    done = home.run("nocturne_generation", "2026-11-21", conf, NOCTURNE_OUTPUT="gs://songs/nights")
    assert done.returncode == 0, done.stdout
    found = options(calls(home)[-1])
    assert found["output"] == "gs://songs/nights/2025-01-02"
    assert (found["seed"], found["format"]) == ("0", "opus")
    assert "temperature" not in found


REFUSED = [
    {"clips": 0}, {"clips": "3"}, {"seconds": "$(touch hacked)"}, {"temperature": -1},
    {"date": "../../etc"}, {"date": "2026-02-31"}, {"date": "2026-11-20\n"}, {"seed": 0.5},
    {"format": "wav; rm -rf /"},
]  # fmt: skip
VALIDATE = """
import copy, json, sys
sys.path.insert(0, sys.argv[1])
from nocturne_generation import dag
for conf in json.loads(sys.argv[2]):
    params = copy.deepcopy(dag.params)
    try:
        params.update(conf)
        params.validate()
    except Exception as error:
        assert type(error).__name__ == "ParamValidationError", error
    else:
        print(conf)
"""


@pytest.mark.slow
def test_params_out_of_range_are_refused(tmp_path) -> None:
    allowed = [{"clips": 1, "seconds": 600, "temperature": None}, {"date": "2026-11-20"}]
    done = python_of_airflow(tmp_path, VALIDATE, str(DAGS), json.dumps([*REFUSED, *allowed]))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(conf) for conf in allowed]


@pytest.mark.slow
def test_a_run_with_a_refused_param_starts_nothing(home) -> None:
    done = home.run("nocturne_generation", "2026-11-20", {"clips": 0})
    assert done.returncode != 0
    assert "Invalid input for param clips" in done.stdout
    assert calls(home) == []


@pytest.mark.slow
def test_a_hostile_input_stays_one_argument(home) -> None:
    hostile = "$(touch hacked)`touch hacked`'; touch hacked #\" --set=x {{ 7 * 7 }} \\ é\n*"
    done = home.run("nocturne_training", conf={"input": hostile})
    assert done.returncode == 0, done.stdout
    found = calls(home)
    assert [options(call)["input"] for call in found[:-1]] == [hostile] * 8
    assert found[-1][:2] == ["run", "blessed"]
    assert len({options(call)["run-id"] for call in found}) == 1
    assert not list(home.folder.rglob("hacked"))


@pytest.mark.slow
def test_a_failure_is_retried_and_one_that_stays_alerts(home) -> None:
    with webhook() as (url, posted):
        done = home.run("nocturne_training", FAILS="Transform=1|Evaluator=.*", NOCTURNE_WEBHOOK=url)
    assert done.returncode != 0
    nodes = [options(call).get("only") for call in calls(home)]
    assert nodes.count("Transform") == 2
    assert nodes.count("Evaluator") == 3
    assert "Pusher" not in nodes
    (alert,) = posted
    assert (alert["event"], alert["dag"], alert["task"]) == (
        "task_failed", "nocturne_training", "Evaluator",
    )  # fmt: skip
    assert "exit code 1" in alert["message"]
    assert "T0KEN" not in done.stdout


@pytest.mark.slow
def test_a_night_waits_for_a_blessed_model_and_says_so_once(home) -> None:
    with webhook() as (url, posted):
        done = home.run(
            "nocturne_generation", "2026-11-22", FAILS="LatestBlessedModel=[1-3]",
            FAILS_WITH="8", NOCTURNE_WEBHOOK=url,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert [options(call)["only"] for call in calls(home)] == [
        *["LatestBlessedModel"] * 4, "BatchGenerator",
    ]  # fmt: skip
    assert [(alert["event"], alert["task"]) for alert in posted] == [
        ("task_waits", "LatestBlessedModel")
    ]
    assert "exit code 8" in posted[0]["message"]


@pytest.mark.slow
def test_a_model_that_is_not_blessed_alerts_without_a_retry(home) -> None:
    with webhook() as (url, posted):
        done = home.run("nocturne_training", FAILS="=.*", FAILS_WITH="8", NOCTURNE_WEBHOOK=url)
    assert done.returncode != 0
    assert [call[1] for call in calls(home)] == [*["training"] * 8, "blessed"]
    assert [alert["task"] for alert in posted] == ["ModelIsBlessed"]
