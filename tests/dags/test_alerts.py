from __future__ import annotations

import importlib.util
import types

import pytest

from tests.support.airflow_home import DAGS, webhook


@pytest.fixture
def alerts() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("nocturne_alerts", DAGS / "nocturne_alerts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def task(**fields: object) -> types.SimpleNamespace:
    named = {"dag_id": "nocturne_generation", "task_id": "BatchGenerator", "try_number": 3}
    return types.SimpleNamespace(**{**named, "log_url": "http://127.0.0.1/log", **fields})


def test_a_failed_task_is_posted(alerts, monkeypatch) -> None:
    with webhook() as (url, posted):
        monkeypatch.setenv("NOCTURNE_WEBHOOK", url)
        error = RuntimeError("returned a non-zero exit code 6." + "x" * 1000)
        alerts.task_failed({"task_instance": task(), "exception": error, "run_id": "night"})
    (body,) = posted
    assert body.pop("message").startswith("returned a non-zero exit code 6.")
    assert body == {
        "event": "task_failed", "dag": "nocturne_generation", "task": "BatchGenerator",
        "run": "night", "try": 3, "log": "http://127.0.0.1/log",
    }  # fmt: skip


def test_a_wait_is_posted_once_and_a_run_only_where_it_took_too_long(alerts, monkeypatch) -> None:
    with webhook() as (url, posted):
        monkeypatch.setenv("NOCTURNE_WEBHOOK", url)
        for number in (1, 2, 3):
            alerts.task_waits({"task_instance": task(try_number=number), "run_id": "night"})
        run = types.SimpleNamespace(dag_id="nocturne_generation", run_id="night")
        for reason in ("task_failure", "timed_out"):
            alerts.run_failed({"reason": reason, "dag_run": run})
    assert [(body["event"], body["run"]) for body in posted] == [
        ("task_waits", "night"), ("run_timed_out", "night"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9/T0KEN", "file:///etc/T0KEN", "T0KEN", "http://T0KEN:x/", "http://[T0KEN/"],
)  # fmt: skip
def test_a_webhook_that_fails_is_logged_without_its_address(
    alerts, monkeypatch, caplog, url
) -> None:
    monkeypatch.setenv("NOCTURNE_WEBHOOK", url)
    alerts.task_failed({"task_instance": task(), "exception": RuntimeError("x")})
    assert "The alert could not be sent to the webhook" in caplog.text
    assert "T0KEN" not in caplog.text


def test_a_webhook_that_answers_with_an_error_is_said(alerts, monkeypatch, caplog) -> None:
    with webhook(status=500) as (url, posted):
        monkeypatch.setenv("NOCTURNE_WEBHOOK", url)
        alerts.task_failed({"task_instance": task(), "exception": RuntimeError("x")})
    assert len(posted) == 1
    assert "The alert could not be sent to the webhook: HTTPError" in caplog.text
    assert "T0KEN" not in caplog.text
