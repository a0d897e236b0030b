"""Tasks of both DAGs: one for each node, which calls the command line.

This file imports only the standard library and Airflow, because Airflow has an environment of its
own and parses the file often. Settings of a deployment are environment variables, see `SETTINGS`;
settings of a run are the DAGs' Params. Both reach the shell as variables in double quotes, so that
no value is ever interpreted by the shell.
"""

from __future__ import annotations

import datetime
import json
import os
import pathlib
from typing import Any

try:  # Airflow 3
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG, CronTriggerTimetable, Param
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.models.param import Param
    from airflow.operators.bash import BashOperator
    from airflow.timetables.trigger import CronTriggerTimetable

from nocturne_alerts import run_failed, task_failed

__all__ = [
    "DAG",
    "SETTINGS",
    "CronTriggerTimetable",
    "Param",
    "command_task",
    "common",
    "node_tasks",
]

_HOME = pathlib.Path.home() / "nocturne"
# Each can be overridden by NOCTURNE_<NAME> in the environment of the scheduler and the workers.
_DEFAULTS = {
    "COMMAND": "nocturne",  # the program; if it is not on PATH, its absolute path
    "ROOT": str(_HOME / "root"),  # the pipeline root
    "INPUT": str(_HOME / "music"),  # audio files for training; a run's Param overrides it
    "OUTPUT": str(_HOME / "clips"),  # folder or gs:// path for the clips, a folder for each date
    "CONFIG": "",  # a YAML file for --config
    "NODES": str(pathlib.Path(__file__).with_name("nodes.json")),
    "POOL": "nocturne_accelerator",  # Airflow pool of the tasks that use an accelerator
    "START": "",  # a date such as 2026-11-22: generation runs missed since then are made up for
    "RETRY_SECONDS": "300",  # wait before the first retry; each further one waits twice as long
    "WAIT_SECONDS": "900",  # wait between two searches for a blessed model
}
SETTINGS = {name: os.environ.get(f"NOCTURNE_{name}", text) for name, text in _DEFAULTS.items()}

# Number of retries of a task.
RETRIES = 2
# Start date if none is set. A run before the start date has no tasks, and Airflow calls that a
# success.
_BEFORE_ANY_RUN = "2000-01-01"
# Id of our run, made from Airflow's: the nodes of one run share it.
_RUN_ID = "{{ dag.dag_id }}.{{ run_id }}"
# Nodes that use an accelerator.
_HEAVY = frozenset({"Trainer", "Evaluator", "BatchGenerator", "Tuner"})
# Longest duration of a node, hours; 4 for the others.
_HOURS = {"Trainer": 24, "Tuner": 24, "BatchGenerator": 8, "AudioExampleGen": 12}


def common(*, hours: int) -> dict[str, Any]:
    """Returns the arguments that both DAGs have in common.

    Args:
      hours: Longest duration of a run. After that, it is stopped and alerts.
    """
    retry = datetime.timedelta(seconds=float(SETTINGS["RETRY_SECONDS"]))
    return {
        "start_date": datetime.datetime.fromisoformat(SETTINGS["START"] or _BEFORE_ANY_RUN).replace(
            tzinfo=datetime.UTC
        ),
        "max_active_runs": 1,
        "max_active_tasks": 2,
        "dagrun_timeout": datetime.timedelta(hours=hours),
        "on_failure_callback": run_failed,
        "tags": ["nocturne"],
        "default_args": {
            "retries": RETRIES,
            "retry_delay": retry,
            "retry_exponential_backoff": True,
            "max_retry_delay": datetime.timedelta(hours=1),
            "on_failure_callback": task_failed,
        },
    }


def node_tasks(
    pipeline: str, command: str, variables: dict[str, str], **special: dict[str, Any]
) -> dict[str, BashOperator]:
    """Makes a task for every node of a pipeline, with its dependencies, inside a DAG.

    Args:
      pipeline: Name of the pipeline, `training` or `generation`. Its nodes are in nodes.json, which
        `make dag-nodes` writes.
      command: Bash command. $NODE is the node's name.
      variables: Environment variables of the command, which may be Airflow templates.
      **special: Further arguments of a node's operator, by the node's name.
    """
    nodes = json.loads(pathlib.Path(SETTINGS["NODES"]).read_text())[pipeline]
    tasks: dict[str, BashOperator] = {}
    for node, before in nodes.items():
        arguments: dict[str, Any] = {
            "execution_timeout": datetime.timedelta(hours=_HOURS.get(node, 4)),
            **({"pool": SETTINGS["POOL"]} if node in _HEAVY else {}),
            **special.get(node, {}),
        }
        tasks[node] = command_task(node, command, {"NODE": node, **variables}, **arguments)
        for name in before:
            tasks[name] >> tasks[node]
    return tasks


def command_task(
    name: str, command: str, variables: dict[str, str], **arguments: Any
) -> BashOperator:
    """Makes a task that runs a Bash command with environment variables."""
    settings = {name: SETTINGS[name] for name in ("COMMAND", "ROOT", "CONFIG")}
    return BashOperator(
        task_id=name,
        bash_command=command,
        env={**settings, "RUN_ID": _RUN_ID, **variables},
        append_env=True,
        **arguments,
    )
