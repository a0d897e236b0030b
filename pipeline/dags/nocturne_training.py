"""The DAG that trains a model every week."""

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
    description="Trains a model on audio files, every week.",
    schedule=CronTriggerTimetable("0 3 * * 0", timezone="UTC"),
    catchup=False,  # it trains on the current files, so missed runs need no repetition
    params={
        "input": Param(
            SETTINGS["INPUT"],
            type="string",
            minLength=1,
            maxLength=1000,
            description="Audio: a file, folder, glob or gs:// path.",
        ),
    },
    doc_md="""One task for each node of the training pipeline; see docs/runbook.md, Airflow.

`ModelIsBlessed` fails without a retry if the model was refused. Then it is not pushed, and the last
blessed model stays in use.""",
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
