"""Prune against a real store of ML Metadata: what goes, what stays, and what a kill leaves."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from audio import contract
from audio.errors import BusyError, InputError, UnwritableError, UsageError
from pipeline.config.sections import MetadataSettings
from pipeline.prune import remove as pruning
from pipeline.prune.plan import TRASH, Decision
from pipeline.root.locks import file_lock
from pipeline.root.metadata_store import root_lock
from pipeline.root.paths import Layout
from storage import files
from tests.support import gcs
from tests.support.roots import Root, names_below

pytestmark = [*gcs.CLIENTS, pytest.mark.filterwarnings("ignore")]

# What of the root below goes with --keep-days 0 --keep-runs 1.
GOING = {"artifacts/AudioExampleGen/examples/4", "artifacts/Trainer/model/5",
         "artifacts/Evaluator/modelblessing/6", "runs/weak"}  # fmt: skip


def fill(root: Root, output: str) -> None:
    """A blessed model with clips, one that did not pass, and the last training and night."""
    first = root.train("first", blessed=True)  # executions 1, 2, 3
    root.train("weak", blessed=False)  # 4, 5, 6
    root.generate("night", first, f"{output}/night")  # 7
    root.generate("night2", first, f"{output}/night2")  # 8
    root.train("last", blessed=False)  # 9, 10, 11


@pytest.fixture
def root(tmp_path) -> Root:
    found = Root(Layout.at(str(tmp_path / "root")))
    fill(found, str(tmp_path / "clips"))
    return found


def prune(root: Root, *, delete: bool = False, **more) -> list[Decision]:
    return pruning.prune(root.layout, keep_days=0, keep_runs=1, delete=delete, **more)


def going(decisions: list[Decision]) -> set[str]:
    return {one.path for one in decisions if not one.keep}


def test_what_would_go_is_said_and_nothing_is_changed(root) -> None:
    folder = pathlib.Path(root.layout.root)
    before = names_below(folder)
    decisions = prune(root)
    assert going(decisions) == GOING
    reasons = {one.path: one.reason for one in decisions}
    assert reasons["artifacts/Trainer/model/2"].endswith("clips/night2 refer to it")
    assert reasons["artifacts/AudioExampleGen/examples/1"].endswith("clips/night2 refer to it")
    assert (
        reasons["artifacts/Evaluator/modelblessing/3"] == "a blessed model, or the verdict on one"
    )
    assert reasons["artifacts/Trainer/model/10"] == "of one of the last 1 training runs"
    assert reasons["runs/first"].endswith("refer to it")
    model = next(one for one in decisions if one.path == "artifacts/Trainer/model/5")
    assert model.bytes == 2 * len("Model 5")
    assert names_below(folder) == before
    assert set(root.states().values()) == {"LIVE"}


def test_what_is_removed_is_gone_and_marked_and_the_rest_as_it_was(root) -> None:
    folder = pathlib.Path(root.layout.root)
    expected = {name for name in names_below(folder) if not name.startswith(tuple(
        f"{one}/" for one in GOING))}  # fmt: skip
    assert going(prune(root, delete=True)) == GOING
    assert names_below(folder) - {"prune.lock"} == expected
    assert {path for path, state in root.states().items() if state != "LIVE"} == {
        path.removeprefix("artifacts/") for path in GOING if path.startswith("artifacts/")
    }
    assert going(prune(root, delete=True)) == set()


def test_what_is_young_stays(root) -> None:
    assert going(pruning.prune(root.layout, keep_days=1, keep_runs=1)) == set()


def test_clips_that_are_gone_hold_nothing_where_that_is_wanted(root, tmp_path) -> None:
    shutil.rmtree(tmp_path / "clips" / "night")
    assert going(prune(root)) == GOING
    assert going(prune(root, forget_removed=True)) == {
        *GOING, "artifacts/BatchGenerator/nocturne.generatedclips/7", "runs/night"
    }  # fmt: skip


def test_clips_that_no_pipeline_made_hold_their_model_and_dataset(root, tmp_path) -> None:
    model = f"{root.layout.root}/artifacts/Trainer/model/5/Format-Serving"
    dataset = f"{root.layout.root}/artifacts/AudioExampleGen/examples/4"
    (tmp_path / "mine" / "a").mkdir(parents=True)
    (tmp_path / "mine" / "a" / contract.MANIFEST).write_text(
        f'{{"model": {{"path": "{model}", "dataset": {{"path": "{dataset}"}}}}, "lineage": {{}}}}'
    )
    assert going(prune(root, clips=[str(tmp_path / "mine")])) == {
        "artifacts/Evaluator/modelblessing/6"
    }
    with pytest.raises(InputError, match=r"there is no manifest.json below it"):
        prune(root, clips=[str(tmp_path / "root" / "runs")])


def test_an_unreadable_manifest_stops_it(root) -> None:
    folder = pathlib.Path(root.layout.root)
    path = folder / "artifacts/BatchGenerator/nocturne.generatedclips/7" / contract.MANIFEST
    path.write_text('{"model": ')
    before = names_below(folder)
    with pytest.raises(InputError, match=r"Nothing was removed. Mend it"):
        prune(root, delete=True)
    assert before <= names_below(folder)


def test_a_kill_leaves_nothing_that_looks_whole_and_the_next_one_ends_it(root, monkeypatch) -> None:
    folder = pathlib.Path(root.layout.root)

    def dies(path: pathlib.Path) -> None:
        (path / contract.COMPLETED).unlink(missing_ok=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pruning.shutil, "rmtree", dies)
        with pytest.raises(KeyboardInterrupt):
            prune(root, delete=True)
    seen = {path for path in GOING if (folder / path).exists()}
    assert len(seen) == len(GOING) - 1  # the first was out of sight before it was touched
    assert len(list((folder / TRASH).iterdir())) == 1
    # No run takes from the cache what was to go, whether it is still there or not.
    marked = {path for path, state in root.states().items() if state == "MARKED_FOR_DELETION"}
    assert {f"artifacts/{path}" for path in marked} == GOING - {"runs/weak"}
    prune(root, delete=True)
    assert not [path for path in GOING if (folder / path).exists()]
    assert not list((folder / TRASH).iterdir())
    assert going(prune(root)) == set()
    assert set(root.states().values()) == {"LIVE", "DELETED"}


def test_links_are_not_followed(root, tmp_path) -> None:
    folder = pathlib.Path(root.layout.root)
    outside = tmp_path / "outside"
    shutil.move(folder / "artifacts/Trainer/model/5", outside / "5")
    (folder / "artifacts/Trainer/model/5").symlink_to(outside / "5")
    shutil.move(folder / "artifacts/AudioExampleGen", outside / "data")
    (folder / "artifacts/AudioExampleGen").symlink_to(outside / "data")
    inside = folder / "artifacts/Evaluator/modelblessing/6/pictures"
    inside.symlink_to(outside)  # what a folder that goes has in it
    before = names_below(outside)
    assert going(prune(root, delete=True)) == {"artifacts/Evaluator/modelblessing/6", "runs/weak"}
    assert names_below(outside) == before


def test_a_node_that_runs_holds_its_run_and_a_killed_one_does_not(root) -> None:
    uri = root.execute("weak", "Trainer", "Model", running=True)
    (pathlib.Path(root.layout.root) / "artifacts/Trainer/training/key").mkdir(parents=True)
    output = uri.removeprefix(f"{root.layout.root}/")
    root.train("newest", blessed=False)
    with file_lock(root.layout.local / "runs/weak/Trainer.lock"):
        assert not going(prune(root)) & (GOING | {output, "artifacts/Trainer/training/key"})
    assert going(prune(root)) >= GOING | {output, "artifacts/Trainer/training/key"}


def test_one_at_a_time_and_only_with_its_store(root, tmp_path) -> None:
    with root_lock(root.layout, "prune"), pytest.raises(BusyError, match="already"):
        prune(root, delete=True)
    with pytest.raises(InputError, match=r"without ML Metadata nothing says what may go"):
        pruning.prune(Layout.at(str(tmp_path)), keep_days=0, keep_runs=1, delete=True)
    with pytest.raises(UsageError, match="--keep-runs of 1 or more"):
        pruning.prune(root.layout, keep_days=0, keep_runs=0)


def test_what_cannot_be_removed_is_said(root, monkeypatch) -> None:
    def refuses(path: pathlib.Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(pruning.shutil, "rmtree", refuses)
        with pytest.raises(UnwritableError, match=r"not be removed whole: Permission denied"):
            prune(root, delete=True)
    prune(root, delete=True)
    assert going(prune(root)) == set()


def test_a_root_in_a_bucket(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with gcs.emulator(tmp_path, monkeypatch) as bucket:
        settings = MetadataSettings(path=str(tmp_path / "metadata.sqlite"))
        root = Root(Layout.at(f"{bucket}/top", settings))
        fill(root, f"{bucket}/clips")
        before = set(files.match(f"{bucket}/**"))
        assert going(prune(root)) == GOING
        assert set(files.match(f"{bucket}/**")) == before
        deleted: list[list[str]] = []
        real = pruning.FileSystems.delete

        def dies(paths: list[str]) -> None:
            deleted.append(paths)
            if len(deleted) == 2:
                raise KeyboardInterrupt
            real(paths)

        with monkeypatch.context() as patch:
            patch.setattr(pruning.FileSystems, "delete", dies)
            with pytest.raises(KeyboardInterrupt):
                prune(root, delete=True)
        data = f"{bucket}/top/artifacts/AudioExampleGen/examples/4"
        assert deleted[0] == [f"{data}/{contract.COMPLETED}"]  # first of all
        prune(root, delete=True)
        gone = tuple(f"{bucket}/top/{path}/" for path in GOING)
        assert set(files.match(f"{bucket}/**")) == {
            path for path in before if not path.startswith(gone)
        }
        assert going(prune(root)) == set()
