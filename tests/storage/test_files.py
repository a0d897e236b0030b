import os
import pathlib

import pytest

from audio.errors import UsageError
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


ODD = "set [v1] * ? \\ 100% #2 {a} $HOME ~ é"


@pytest.mark.parametrize("name", ["plain", ODD])
def test_a_plain_path_leads_to_the_same_folder(tmp_path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    with files.plain_path(str(folder)) as path:
        assert files.is_plain(path)
        pathlib.Path(path, "a").write_text("x")
        assert pathlib.Path(path).samefile(folder)
    assert (folder / "a").read_text() == "x"


def test_a_plain_path_leaves_no_descriptor_open(tmp_path) -> None:
    (tmp_path / ODD).mkdir()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(ZeroDivisionError), files.plain_path(str(tmp_path / ODD)):
        raise ZeroDivisionError
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_names_are_listed_whatever_the_folder_is_called(tmp_path) -> None:
    (tmp_path / ODD / "sub").mkdir(parents=True)
    (tmp_path / ODD / "b").touch()
    assert files.list_names(str(tmp_path / ODD)) == ["b", "sub"]
    assert files.list_names(str(tmp_path / "none")) == []


@pytest.mark.parametrize(
    "path", [ODD, "/a b/c", "gs://bucket/a b/c", "a/s3://b", "gs:/b", "C:/x", "", "-x", "~"]
)
def test_local_paths_and_buckets_are_paths(path: str) -> None:
    assert files.check_path(path, "--output") == path


@pytest.mark.parametrize(
    ("path", "checks", "said"),
    [
        ("s3://b/x", {}, r"--output: wanted a path on this machine or gs://BUCKET/PATH, got s3://"),
        ("hdfs://h/x", {}, r"or mount hdfs:// as a folder"),
        ("file:///x", {}, "wanted a path on this machine"),
        ("https://example.org/x", {}, "wanted a path on this machine"),
        ("GS://b/x", {}, "got GS://b/x"),
        ("gs://", {}, "wanted gs://BUCKET/PATH"),
        ("gs:///x", {}, "wanted gs://BUCKET/PATH"),
        ("gs://b/x", {"local": True}, "wanted a path on this machine, got gs://b/x"),
        ("gs://b/[x]", {}, r"the characters \* \? \[ \\ in a gs:// path"),
        ("caf\udce9", {}, r"wanted a name in UTF-8, .* got 'caf\\udce9'"),
        ("a\0b", {}, r"wanted a path, got 'a\\x00b'"),
    ],
)
def test_other_paths_are_refused_by_name(path: str, checks: dict[str, bool], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        files.check_path(path, "--output", **checks)


def test_recordings_may_be_named_by_a_pattern_and_in_any_encoding() -> None:
    for path in ("gs://b/*.wav", "caf\udce9"):
        assert files.check_path(path, "--input", pattern=True) == path


def test_a_user_without_a_home_has_a_folder_for_temporary_files(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert files.state_folder() == tmp_path / "home" / ".local" / "state" / "nocturne"
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    assert files.state_folder().name == f"nocturne-{os.getuid()}"

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert files.state_folder().name == f"nocturne-{os.getuid()}"
