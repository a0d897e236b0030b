"""The DAG that trains every week."""

from __future__ import annotations

import datetime

from nocturne_tasks import (
    DAG,
    SETTINGS,
    CronTriggerTimetable,
    Param,
    command_task,
    common,
    node_tasks,
)

_NODE = (
    'exec "$COMMAND" run training --only="$NODE" --run-id="$RUN_ID" --root="$ROOT" '
    '--input="$INPUT" ${CONFIG:+--config="$CONFIG"}'
)
_VERDICT = (
    'exec "$COMMAND" run blessed --root="$ROOT" --run-id="$RUN_ID" ${CONFIG:+--config="$CONFIG"}'
)

with DAG(
    dag_id="nocturne_training",
    description="Audio files to a blessed model, every week.",
    schedule=CronTriggerTimetable("0 3 * * 0", timezone="UTC"),
    catchup=False,  # it trains on what the input holds now
    params={
        "input": Param(
            SETTINGS["INPUT"],
            type="string",
            minLength=1,
            maxLength=1000,
            description="A file, folder, glob or gs:// path.",
        ),
    },
    doc_md="""One task a node of the training pipeline; see docs/runbook.md, Airflow.

`ModelIsBlessed` fails, without a retry, where the week's model did not pass; nothing was pushed
then, and the model before it stays in use.""",
    **common(hours=48),
) as dag:
    nodes = node_tasks("training", _NODE, {"INPUT": "{{ params.input }}"})
    verdict = command_task(
        "ModelIsBlessed",
        _VERDICT,
        {},
        retries=0,
        execution_timeout=datetime.timedelta(minutes=30),
    )
    nodes["Pusher"] >> verdict
