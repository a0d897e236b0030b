import threading

import pytest

from audio.errors import InputError, OutputExistsError, UnwritableError
from storage.outputs import Folder


def test_publish_writes_the_file_and_nothing_else(tmp_path) -> None:
    Folder(str(tmp_path)).publish("a/clip.wav", b"content")
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == {
        "clip.wav": b"content"
    }


def test_publishing_equal_content_again_is_no_conflict(tmp_path) -> None:
    Folder(str(tmp_path)).publish("clip.wav", b"content")
    Folder(str(tmp_path)).publish("clip.wav", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.wav"]


def test_publish_does_not_replace_other_content(tmp_path) -> None:
    (tmp_path / "clip.wav").write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=r"clip\.wav exists and differs"):
        Folder(str(tmp_path)).publish("clip.wav", b"other")
    assert (tmp_path / "clip.wav").read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["clip.wav"]


def test_replace_writes_a_whole_file_and_does_not_touch_an_equal_one(tmp_path) -> None:
    folder, path = Folder(str(tmp_path)), tmp_path / "a" / "page.html"
    folder.replace("a/page.html", b"one")
    before = path.stat()
    folder.replace("a/page.html", b"one")
    assert path.stat() == before
    folder.replace("a/page.html", b"two")
    assert path.read_bytes() == b"two"
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]
    with pytest.raises(InputError, match="a name below the output"):
        folder.replace("../page.html", b"x")
    path.unlink()
    path.mkdir()
    (path / "taken").touch()
    with pytest.raises(UnwritableError, match=r"cannot write .*page\.html"):
        folder.replace("a/page.html", b"x")
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]


def test_one_of_many_writers_wins(tmp_path) -> None:
    outcomes: list[str] = []

    def write(content: bytes) -> None:
        try:
            Folder(str(tmp_path)).publish("clip.wav", content)
            outcomes.append("won")
        except OutputExistsError:
            outcomes.append("lost")

    threads = [threading.Thread(target=write, args=(bytes([n]) * 100_000,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost"] * 7 + ["won"]
    content = (tmp_path / "clip.wav").read_bytes()
    assert content == content[:1] * 100_000


@pytest.mark.parametrize(
    "name", ["../clip.wav", "/etc/clip.wav", "a/../../b", "a//b", "", "a\\..\\b", "a\0b"]
)
def test_a_name_outside_of_the_output_is_refused(tmp_path, name: str) -> None:
    with pytest.raises(InputError, match="a name below the output"):
        Folder(str(tmp_path / "out")).publish(name, b"x")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_reported_in_one_line_and_leaves_nothing(tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UnwritableError, match=r"clip\.wav: No space left on device"):
        Folder(str(tmp_path)).publish("clip.wav", b"x")
    assert not list(tmp_path.iterdir())
