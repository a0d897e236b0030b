import pytest

from pipeline.prune.plan import Execution, Facts, Folder, plan, unit_of

DAY = 86400.0
NOW = 1000 * DAY


def folder(path: str, age: float = 100.0, *, link: bool = False) -> Folder:
    return Folder(path=path, bytes=10, changed=NOW - age * DAY, link=link)


def execution(
    number: int, node: str, run: str, age: float, *artifacts: int, running: bool = False
) -> Execution:
    return Execution(id=number, node=node, run=run, changed=NOW - age * DAY, running=running,
                     artifacts=frozenset(artifacts))  # fmt: skip


def decided(facts: Facts, keep_days: float = 30, keep_runs: int = 1) -> dict[str, bool]:
    found = plan(facts, now=NOW, keep_days=keep_days, keep_runs=keep_runs)
    assert all(one.reason for one in found)
    return {one.path: one.keep for one in found}


def facts(*folders: Folder, executions: tuple[Execution, ...] = (), **more) -> Facts:
    given = {
        "artifacts": {},
        "marked": frozenset(),
        "blessed": frozenset(),
        "published": {},
        **more,
    }
    return Facts(folders=folders, executions={one.id: one for one in executions}, **given)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("artifacts/Trainer/model/7/Format-Serving/saved_model.pb", "artifacts/Trainer/model/7"),
        ("artifacts/Trainer/.system/executor_execution/7/x", "artifacts/Trainer/.system/"
         "executor_execution/7"),
        ("artifacts/AudioExampleGen/staging/ab12/.staging/x", "artifacts/AudioExampleGen/staging/"
         "ab12"),
        ("runs/first/log.txt", "runs/first"),
        ("pushed/1795/saved_model.pb", "pushed/1795"),
        ("metadata.sqlite", None),
        ("artifacts/Trainer/model/7", None),
        ("artifacts/Trainer/model/latest/x", None),
        ("music/song.flac", None),
        ("runs/notes.txt", None),
    ],
)  # fmt: skip
def test_files_go_with_the_folder_that_they_belong_to(path, unit) -> None:
    assert unit_of(path) == unit


def test_the_last_runs_of_each_pipeline_stay_whatever_their_age() -> None:
    """Nights come seven times as often as weeks, and push none of these out."""
    nights = tuple(execution(10 + i, "BatchGenerator", f"night{i}", 100 - i) for i in range(3))
    weeks = tuple(execution(i, "Trainer", f"week{i}", 200 - i, i) for i in (1, 2))
    found = decided(
        facts(
            *(folder(f"artifacts/Trainer/model/{i}") for i in (1, 2)),
            *(folder(f"artifacts/BatchGenerator/clips/{10 + i}") for i in range(3)),
            executions=(*nights, *weeks),
        )
    )
    assert [path for path, keep in found.items() if keep] == [
        "artifacts/Trainer/model/2", "artifacts/BatchGenerator/clips/12",
    ]  # fmt: skip


def test_what_a_kept_run_took_from_the_cache_stays() -> None:
    old = execution(1, "AudioExampleGen", "old", 300, 1)
    new = execution(2, "AudioExampleGen", "new", 1, 1)  # found artifact 1 in the cache
    path = "artifacts/AudioExampleGen/examples/1"
    found = decided(facts(folder(path), executions=(old, new), artifacts={1: path}))
    assert found == {path: True}


def test_a_run_under_way_and_the_work_of_runs_stay_while_it_is() -> None:
    running = execution(1, "Trainer", "slow", 90, running=True)
    other = execution(2, "Trainer", "done", 80)
    work = "artifacts/Trainer/training/abc"
    mine = "artifacts/Trainer/model/1"
    assert decided(facts(folder(work), folder(mine), executions=(running, other))) == {
        work: True, mine: True,
    }  # fmt: skip
    ended = execution(1, "Trainer", "slow", 90)
    assert decided(facts(folder(work), folder(mine), executions=(ended, other))) == {
        work: False, mine: False,
    }  # fmt: skip


def test_what_is_unknown_or_a_link_stays() -> None:
    """Another store's root, or a store that is new, must not empty a root."""
    known = execution(1, "Trainer", "week", 300), execution(9, "Trainer", "newer", 200)
    found = decided(
        facts(
            folder("artifacts/Evaluator/blessing/1"),
            folder("artifacts/Trainer/model/2"),
            folder("artifacts/Trainer/model/1", link=True),
            folder("pushed/17"),
            folder(".pruned/artifacts~Trainer~model~3", age=0),
            executions=known,
        )
    )
    assert [path for path, keep in found.items() if not keep] == [
        ".pruned/artifacts~Trainer~model~3"
    ]
