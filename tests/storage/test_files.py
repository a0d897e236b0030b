import pathlib

import pytest

from storage import files

MODEL = ("fingerprint.pb", "saved_model.pb", "assets.extra/model_info.json", "variables/v.index")


def fill(folder: str) -> None:
    for name in MODEL:
        files.write_text(f"{folder}/{name}", name)


def content(folder: pathlib.Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def test_a_file_that_fails_leaves_the_one_before_and_nothing_else(tmp_path) -> None:
    files.write_text(f"{tmp_path}/page", "before")
    with pytest.raises(TypeError), files.atomic_file(f"{tmp_path}/page") as file:
        file.writelines([b"half", "no bytes"])  # type: ignore[list-item]
    assert content(tmp_path) == {"page": "before"}


def test_a_folder_is_renamed_when_it_is_full(tmp_path) -> None:
    (tmp_path / "model.partial").mkdir()
    (tmp_path / "model.partial" / "of a killed attempt").touch()
    with files.atomic_folder(f"{tmp_path}/model") as partial:
        fill(partial)
        assert not (tmp_path / "model").exists()
    assert content(tmp_path) == {f"model/{name}": name for name in MODEL}


@pytest.mark.parametrize("at", range(4))
def test_a_kill_while_a_bucket_is_filled_leaves_no_marker(monkeypatch, tmp_path, at: int) -> None:
    """Beam's local file system takes the place of a bucket here."""
    monkeypatch.setattr(files, "is_remote", lambda _: True)
    copied: list[str] = []
    write = files.atomic_file

    def killed(path: str):
        if "/model/" in path:
            copied.append(path)
            if len(copied) == at + 1:
                raise KeyboardInterrupt
        return write(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "atomic_file", killed)
        with (
            pytest.raises(KeyboardInterrupt),
            files.atomic_folder(f"{tmp_path}/model", last="saved_model.pb") as partial,
        ):
            fill(partial)
    assert len(content(tmp_path / "model")) == at
    assert not (tmp_path / "model" / "saved_model.pb").exists()
    with files.atomic_folder(f"{tmp_path}/model", last="saved_model.pb") as partial:
        fill(partial)
    assert content(tmp_path) == {f"model/{name}": name for name in MODEL}


def test_copy_tree_skips_the_markers_of_folders_in_a_bucket(monkeypatch, tmp_path) -> None:
    fill(f"{tmp_path}/logs")
    names = ["", "assets.extra/", *MODEL]
    monkeypatch.setattr(files, "is_remote", lambda path: path == f"{tmp_path}/logs")
    monkeypatch.setattr(files, "match", lambda _: [f"{tmp_path}/logs/{name}" for name in names])
    files.copy_tree(f"{tmp_path}/logs", f"{tmp_path}/copy")
    assert content(tmp_path / "copy") == {name: name for name in MODEL}


def test_state_folder_follows_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert files.state_folder() == pathlib.Path("/state/nocturne")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/ann")
    assert files.state_folder() == pathlib.Path("/home/ann/.local/state/nocturne")
