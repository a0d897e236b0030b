import threading

import pytest

from audio.errors import OutputExistsError
from generator.publish import publish


def test_content_appears_under_its_name_and_nothing_else(tmp_path) -> None:
    publish(str(tmp_path / "a" / "clip.wav"), b"content")
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == {
        "clip.wav": b"content"
    }


def test_the_same_content_again_is_no_conflict(tmp_path) -> None:
    publish(str(tmp_path / "clip.wav"), b"content")
    publish(str(tmp_path / "clip.wav"), b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.wav"]


def test_other_content_is_a_conflict_and_stays(tmp_path) -> None:
    (tmp_path / "clip.wav").write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=r"clip\.wav exists and differs"):
        publish(str(tmp_path / "clip.wav"), b"other")
    assert (tmp_path / "clip.wav").read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["clip.wav"]


def test_of_many_writers_one_wins_whole(tmp_path) -> None:
    outcomes: list[str] = []

    def write(content: bytes) -> None:
        try:
            publish(str(tmp_path / "clip.wav"), content)
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
