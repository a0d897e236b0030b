"""Alerts a webhook if a task has failed after all retries, or if a run takes too long.

The address is a secret. It is in NOCTURNE_WEBHOOK or else in Airflow's Variable nocturne_webhook,
and it is never written to a log.
"""

from __future__ import annotations

import json
import logging
import os
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

# Name of Airflow's Variable with the address.
_VARIABLE = "nocturne_webhook"
# Longest time to wait for the webhook, seconds.
_TIMEOUT_SECONDS = 10.0
# Greatest length of an alert's message, characters. The task's log has the whole error.
_MESSAGE_CHARACTERS = 500

_log = logging.getLogger(__name__)


def task_failed(context: Mapping[str, Any]) -> None:
    """Posts what failed. It is Airflow's on_failure_callback of a task, and never raises."""
    _task("task_failed", context)


def task_waits(context: Mapping[str, Any]) -> None:
    """Posts the first retry of a task. It is Airflow's on_retry_callback of a task that waits."""
    if getattr(context.get("task_instance"), "try_number", 1) == 1:
        _task("task_waits", context)


def _task(event: str, context: Mapping[str, Any]) -> None:
    task, error = context.get("task_instance"), context.get("exception")
    _alert(
        {
            "event": event,
            "dag": getattr(task, "dag_id", None),
            "task": getattr(task, "task_id", None),
            "run": _text(context, "run_id"),
            "try": getattr(task, "try_number", None),
            "log": getattr(task, "log_url", None),
            "message": str(error)[:_MESSAGE_CHARACTERS] if error else None,
        }
    )


def run_failed(context: Mapping[str, Any]) -> None:
    """Posts that a run took too long. It is Airflow's on_failure_callback of a DAG.

    It never raises. If tasks failed, their own callbacks have posted that already.
    """
    if context.get("reason") != "timed_out":
        return
    run = context.get("dag_run")
    _alert(
        {
            "event": "run_timed_out",
            "dag": getattr(run, "dag_id", None),
            "run": _text(context, "run_id"),
            "message": "the run took longer than its dagrun_timeout",
        }
    )


def post(url: str, body: Mapping[str, Any]) -> None:
    """Posts JSON.

    Raises:
      ValueError: The address is not http or https.
      OSError: The address cannot be reached, or it answers with an error.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("wanted a webhook whose address begins with http:// or https://")
    request = urllib.request.Request(
        url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):
        pass


def _alert(body: Mapping[str, Any]) -> None:
    try:
        url = os.environ.get("NOCTURNE_WEBHOOK") or _variable()
        if not url:
            _log.warning("NOCTURNE_WEBHOOK is not set, so this alert goes nowhere: %s", body)
            return
        post(url, body)
        _log.info("Alert sent to the webhook: %s", body["event"])
    except Exception as error:
        # The text of an error may contain the address, so only its type is logged.
        _log.error("The alert could not be sent to the webhook: %s", type(error).__name__)


def _variable() -> str:
    try:
        from airflow.sdk import Variable

        return Variable.get(_VARIABLE, default="")
    except ImportError:  # Airflow 2
        from airflow.models import Variable

        return Variable.get(_VARIABLE, default_var="")


def _text(context: Mapping[str, Any], key: str) -> str | None:
    value = context.get(key) or getattr(context.get("dag_run"), key, None)
    return None if value is None else str(value)
