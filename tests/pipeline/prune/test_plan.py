import pytest

from pipeline.prune.plan import Execution, plan

DAY = 86400.0
NOW = 1000 * DAY


def execution(
    node: str, run: str, age: float, *folders: str, running: bool = False, needed: bool = False
) -> Execution:
    return Execution(node=node, run=run, changed=NOW - age * DAY, running=running, needed=needed,
                     folders=frozenset(folders))  # fmt: skip


def removable(
    *folders: str, executions: dict[int, Execution], age: float = 100, keep: int = 1
) -> list[str]:
    return plan(
        dict.fromkeys(folders, NOW - age * DAY), executions, oldest=NOW - 30 * DAY, keep=keep
    )


def test_the_last_runs_of_each_pipeline_stay_whatever_their_age() -> None:
    """Generation runs are seven times as frequent as training runs, and do not displace these."""
    executions = {number: execution("Trainer", f"week{number}", 200 - number) for number in (1, 2)}
    executions |= {
        number: execution("BatchGenerator", f"night{number}", 100 - number)
        for number in (10, 11, 12)
    }
    models = [f"artifacts/Trainer/model/{number}" for number in (1, 2)]
    clips = [f"artifacts/BatchGenerator/clips/{number}" for number in (10, 11, 12)]
    runs = ["runs/week1", "runs/week2", "runs/night11", "runs/night12"]
    assert removable(*models, *clips, *runs, executions=executions) == [
        models[0], clips[0], clips[1], "runs/week1", "runs/night11",
    ]  # fmt: skip
    assert removable(*models, *clips, *runs, executions=executions, keep=3) == []


def test_what_a_kept_run_read_or_took_from_the_cache_stays() -> None:
    path = "artifacts/AudioExampleGen/examples/1"
    executions = {
        1: execution("AudioExampleGen", "old", 300, path),
        2: execution("AudioExampleGen", "new", 1, path),
    }
    assert removable(path, executions=executions) == []
    executions[2] = execution("AudioExampleGen", "new", 1)
    assert removable(path, executions=executions) == [path]


def test_runs_with_blessed_models_and_published_clips_stay() -> None:
    path = "artifacts/Trainer/model/1"
    for needed in (True, False):
        executions = {
            1: execution("Trainer", "first", 300, path),
            2: execution("Evaluator", "first", 300, path, needed=needed),
            3: execution("Trainer", "last", 200),
        }
        removed = removable(path, "runs/first", executions=executions)
        assert removed == ([] if needed else [path, "runs/first"])


@pytest.mark.parametrize("running", [True, False])
def test_while_a_run_is_running_it_and_unfinished_work_stay(running: bool) -> None:
    executions = {
        1: execution("Trainer", "slow", 90, running=running),
        2: execution("Trainer", "done", 80),
    }
    paths = [
        "artifacts/Trainer/training/abc",
        "artifacts/AudioExampleGen/staging/123",
        "artifacts/Trainer/model/1",
        "artifacts/Trainer/.system/executor_execution/1",
    ]
    assert removable(*paths, executions=executions) == ([] if running else paths)


def test_what_is_new_stays() -> None:
    executions = {1: execution("Trainer", "failed", 3), 2: execution("Trainer", "last", 1)}
    paths = ["artifacts/Trainer/model/1", "artifacts/Tuner/state/x", "runs/failed", "runs/other"]
    assert removable(*paths, executions=executions, age=1) == []


def test_what_is_unknown_stays() -> None:
    """The store may be new, or another root's: it must not empty this root."""
    executions = {
        1: execution("Trainer", "week", 300),
        9: execution("Trainer", "newer", 200),
    }
    unknown = ["artifacts/Evaluator/blessing/1", "artifacts/Trainer/model/2", "artifacts/a/b/c"]
    leftover = ".pruned/artifacts~Trainer~model~3"
    assert removable(*unknown, leftover, executions=executions, age=0) == [leftover]
