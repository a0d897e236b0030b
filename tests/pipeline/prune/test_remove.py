"""Prune against a real store of ML Metadata: what goes, what stays, and what a kill leaves."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from audio import contract
from audio.errors import BusyError, InputError, UnwritableError, UsageError
from pipeline.config.sections import MetadataSettings
from pipeline.prune import remove
from pipeline.prune.plan import TRASH
from pipeline.root.metadata_store import root_lock
from pipeline.root.paths import Layout
from storage.locks import file_lock
from tests.support.roots import Root, names_below

# TFX warns of its own past when it is loaded.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

# What can be removed from the root below with --keep-days 0 --keep-runs 1.
REMOVABLE = {"artifacts/AudioExampleGen/examples/4", "artifacts/Trainer/model/5",
             "artifacts/Evaluator/modelblessing/6", "runs/weak"}  # fmt: skip


@pytest.fixture
def root(tmp_path) -> Root:
    """A blessed model with clips, a refused one, and the last run of each pipeline."""
    root = Root(Layout.at(str(tmp_path / "root")))
    first = root.train("first", blessed=True)  # executions 1, 2, 3
    root.train("weak", blessed=False)  # 4, 5, 6
    root.generate("night", first, f"{tmp_path}/clips/night")  # 7
    root.generate("night2", first, f"{tmp_path}/clips/night2")  # 8
    root.train("last", blessed=False)  # 9, 10, 11
    return root


def prune(root: Root, *, keep_days: float = 0, delete: bool = False) -> set[str]:
    return set(remove.prune(root.layout, keep_days=keep_days, keep_runs=1, delete=delete))


def test_without_delete_nothing_is_changed(root) -> None:
    folder = pathlib.Path(root.layout.root)
    before = names_below(folder)
    sizes = remove.prune(root.layout, keep_days=0, keep_runs=1, delete=False)
    assert set(sizes) == REMOVABLE
    assert sizes["artifacts/Trainer/model/5"] == 2 * len("Model 5")
    assert names_below(folder) == before
    assert set(root.states().values()) == {"LIVE"}


def test_what_is_removed_is_gone_and_marked_and_the_rest_as_it_was(root) -> None:
    folder = pathlib.Path(root.layout.root)
    prefixes = tuple(f"{path}/" for path in REMOVABLE)
    expected = {name for name in names_below(folder) if not name.startswith(prefixes)}
    assert prune(root, delete=True) == REMOVABLE
    assert names_below(folder) - {"prune.lock"} == expected
    assert {path for path, state in root.states().items() if state == "DELETED"} == {
        path.removeprefix("artifacts/") for path in REMOVABLE if path.startswith("artifacts/")
    }
    assert prune(root, delete=True) == set()


def test_what_is_new_stays(root) -> None:
    assert prune(root, keep_days=1) == set()


def test_a_generation_run_goes_once_its_clips_were_removed(root, tmp_path) -> None:
    shutil.rmtree(tmp_path / "clips" / "night")
    assert prune(root) == {
        *REMOVABLE, "artifacts/BatchGenerator/nocturne.generatedclips/7", "runs/night"
    }  # fmt: skip


@pytest.mark.parametrize("mount_point_is_there", [True, False])
def test_a_generation_run_stays_if_the_disk_of_its_clips_is_not_mounted(
    root, tmp_path, mount_point_is_there: bool
) -> None:
    shutil.rmtree(tmp_path / "clips")
    if mount_point_is_there:
        (tmp_path / "clips").mkdir()
    assert prune(root) == REMOVABLE


def test_a_kill_leaves_nothing_that_looks_complete_and_the_next_prune_ends_it(
    root, monkeypatch
) -> None:
    folder = pathlib.Path(root.layout.root)

    def dies(path: pathlib.Path) -> None:
        (path / contract.COMPLETED).unlink(missing_ok=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(remove.shutil, "rmtree", dies)
        with pytest.raises(KeyboardInterrupt):
            prune(root, delete=True)
    left = {path for path in REMOVABLE if (folder / path).exists()}
    assert len(left) == len(REMOVABLE) - 1  # the first was renamed before it was touched
    assert len(list((folder / TRASH).iterdir())) == 1
    # No run takes from the cache what was to go, whether it is still there or not.
    marked = {path for path, state in root.states().items() if state == "DELETED"}
    assert {f"artifacts/{path}" for path in marked} == REMOVABLE - {"runs/weak"}
    prune(root, delete=True)
    assert not [path for path in REMOVABLE if (folder / path).exists()]
    assert not list((folder / TRASH).iterdir())
    assert prune(root) == set()


def test_links_are_not_followed(root, tmp_path) -> None:
    folder = pathlib.Path(root.layout.root)
    outside = tmp_path / "outside"
    shutil.move(folder / "artifacts/Trainer/model/5", outside / "5")
    (folder / "artifacts/Trainer/model/5").symlink_to(outside / "5")
    shutil.move(folder / "artifacts/AudioExampleGen", outside / "data")
    (folder / "artifacts/AudioExampleGen").symlink_to(outside / "data")
    inside = folder / "artifacts/Evaluator/modelblessing/6/pictures"
    inside.symlink_to(outside)  # in a folder that is removed
    before = names_below(outside)
    assert prune(root, delete=True) == {"artifacts/Evaluator/modelblessing/6", "runs/weak"}
    assert names_below(outside) == before


def test_a_running_node_keeps_its_run_and_a_killed_one_does_not(root) -> None:
    uri = root.execute("weak", "Trainer", "Model", running=True)
    (pathlib.Path(root.layout.root) / "artifacts/Trainer/training/key").mkdir(parents=True)
    output = uri.removeprefix(f"{root.layout.root}/")
    root.train("newest", blessed=False)
    with file_lock(root.layout.local / "runs/weak/Trainer.lock"):
        assert not prune(root) & (REMOVABLE | {output, "artifacts/Trainer/training/key"})
    assert prune(root) >= REMOVABLE | {output, "artifacts/Trainer/training/key"}


def test_a_root_is_pruned_by_one_process_and_only_with_its_store(root, tmp_path) -> None:
    with root_lock(root.layout, "prune"), pytest.raises(BusyError, match="another process"):
        prune(root, delete=True)
    with pytest.raises(InputError, match=r"cannot tell what is safe to delete"):
        remove.prune(Layout.at(str(tmp_path)), keep_days=0, keep_runs=1, delete=True)


def test_a_bucket_is_refused(tmp_path) -> None:
    layout = Layout.at("gs://songs/root", MetadataSettings(path=str(tmp_path / "m.sqlite")))
    with pytest.raises(UsageError, match=r"only a local root can be pruned. .*lifecycle rules"):
        remove.prune(layout, keep_days=0, keep_runs=1, delete=True)


def test_a_folder_that_cannot_be_removed_is_an_error(root, monkeypatch) -> None:
    def refuses(path: pathlib.Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(remove.shutil, "rmtree", refuses)
        with pytest.raises(UnwritableError, match=r"was not removed: Permission denied"):
            prune(root, delete=True)
    prune(root, delete=True)
    assert prune(root) == set()
