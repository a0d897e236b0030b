"""The DAG that generates clips every night."""

from __future__ import annotations

import datetime

from nocturne_alerts import task_waits
from nocturne_tasks import DAG, SETTINGS, CronTriggerTimetable, Param, common, node_tasks

# The date of a run is its Param, or else its logical date. In Airflow 3, a run that was started by
# hand has no logical date; its date is then the day on which it begins.
_DATE = (
    "{{ params.date or ((logical_date if logical_date is defined and logical_date "
    "else dag_run.run_after) | ds) }}"
)
_NODE = (
    'exec "$COMMAND" run generation --only="$NODE" --run-id="$RUN_ID" --root="$ROOT" '
    '--output="$OUTPUT/$DATE" --date="$DATE" --seed="${SEED:-${DATE//-/}}" '
    '--clips="$CLIPS" --seconds="$SECONDS_EACH" --format="$FORMAT" '
    '${TEMPERATURE:+--temperature="$TEMPERATURE"} ${CONFIG:+--config="$CONFIG"}'
)
_WAITS = {
    # Without a blessed model, this node exits with 8. It is tried again for a day, and the first
    # failure alerts the webhook.
    "retries": 96,
    "retry_delay": datetime.timedelta(seconds=float(SETTINGS["WAIT_SECONDS"])),
    "retry_exponential_backoff": False,
    "on_retry_callback": task_waits,
}

with DAG(
    dag_id="nocturne_generation",
    description="Generates a folder of clips with the latest blessed model, every night.",
    schedule=CronTriggerTimetable("0 1 * * *", timezone="UTC"),
    # Runs that were missed since NOCTURNE_START are made up for, each into its own folder.
    catchup=bool(SETTINGS["START"]),
    params={
        "clips": Param(8, type="integer", minimum=1, maximum=100_000),
        "seconds": Param(10.0, type="number", minimum=0.5, maximum=600),
        "temperature": Param(
            None,
            type=["null", "number"],
            minimum=0,
            maximum=10,
            description="Sampling temperature; by default, that of the configuration.",
        ),
        "seed": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            maximum=2**63 - 1,
            description="Seed; by default, the date as a number, such as 20261122.",
        ),
        "format": Param("wav", enum=["wav", "wav24", "wavfloat", "flac", "vorbis", "opus", "mp3"]),
        "date": Param(
            None,
            type=["null", "string"],
            format="date",
            pattern=r"^\d{4}-\d{2}-\d{2}$",
            description="Date of the run; by default, its logical date.",
        ),
    },
    doc_md="""One task for each node of the generation pipeline; see docs/runbook.md, Airflow.

`LatestBlessedModel` is tried again until there is a blessed model. Clips go into a folder named
after the date of the run, which is also their seed. Finished clips are never overwritten.""",
    **common(hours=36),
) as dag:
    node_tasks(
        "generation",
        _NODE,
        {
            "OUTPUT": SETTINGS["OUTPUT"],
            "DATE": _DATE,
            "CLIPS": "{{ params.clips }}",
            "SECONDS_EACH": "{{ params.seconds }}",
            "FORMAT": "{{ params.format }}",
            "TEMPERATURE": "{{ '' if params.temperature is none else params.temperature }}",
            "SEED": "{{ '' if params.seed is none else params.seed }}",
        },
        LatestBlessedModel=_WAITS,
    )
