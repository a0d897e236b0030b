"""What both DAGs share: one task a node, each a call of the command line.

Standard library and Airflow alone: Airflow lives in an environment of its own, and parses this
often. What a deployment decides is read from the environment, see `SETTINGS`; what a run may
decide are the DAGs' Params. Both reach the shell as variables that stand in double quotes, so no
value is ever read as shell.
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
# NOCTURNE_<NAME> in the environment of the scheduler and the workers overrides each.
_DEFAULTS = {
    "COMMAND": "nocturne",  # the program, where it is not on PATH: its absolute path
    "ROOT": str(_HOME / "root"),  # the pipelines' root
    "INPUT": str(_HOME / "music"),  # what training reads, unless a run's Param says otherwise
    "OUTPUT": str(_HOME / "clips"),  # nights go into folders of it, by date; a folder or gs://
    "CONFIG": "",  # a YAML file for --config
    "NODES": str(pathlib.Path(__file__).with_name("nodes.json")),
    "POOL": "nocturne_accelerator",  # of the tasks that an accelerator would run
    "START": "",  # a date, 2026-11-22: nights missed since then are made; where empty, none are
    "RETRY_SECONDS": "300",  # before a first retry; each further one waits twice as long
    "WAIT_SECONDS": "900",  # between two looks for a blessed model
}
SETTINGS = {name: os.environ.get(f"NOCTURNE_{name}", text) for name, text in _DEFAULTS.items()}

RETRIES = 2
# A run of an earlier date has no tasks, and Airflow calls that a success.
_BEFORE_ANY_RUN = "2000-01-01"
# A run id of Airflow's, made one of ours: it ties the nodes of one run together.
_RUN_ID = "{{ dag.dag_id }}.{{ run_id }}"
_HEAVY = frozenset({"Trainer", "Evaluator", "BatchGenerator", "Tuner"})
_HOURS = {"Trainer": 24, "Tuner": 24, "BatchGenerator": 8, "AudioExampleGen": 12}


def common(*, hours: int) -> dict[str, Any]:
    """Returns what both DAGs are made with.

    Args:
      hours: after which a run is stopped and alerts.
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
    """Makes a task of every node of a pipeline, inside a DAG, in the order that they depend on.

    Args:
      pipeline: training or generation; its nodes are in nodes.json, which is generated.
      command: for bash; $NODE is the node's name.
      variables: for the command, templates of Airflow.
      **special: of nodes, arguments of their operators.
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
    """Makes a task that runs a command of ours with variables in its environment."""
    settings = {name: SETTINGS[name] for name in ("COMMAND", "ROOT", "CONFIG")}
    return BashOperator(
        task_id=name,
        bash_command=command,
        env={**settings, "RUN_ID": _RUN_ID, **variables},
        append_env=True,
        **arguments,
    )
