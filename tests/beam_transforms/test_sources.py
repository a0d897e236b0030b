import os
import pathlib

import pytest

from audio.errors import InputError
from beam_transforms.settings import inputs_fingerprint
from beam_transforms.sources import find_sources
from tests.support import signals


def names(*inputs: object) -> list[str]:
    sources = find_sources([str(path) for path in inputs])
    return [pathlib.Path(source.uri).name for source in sources]


def test_a_folder_gives_files_with_the_name_or_content_of_audio(tmp_path) -> None:
    signals.write(tmp_path / "deep" / "er" / "tone.WAV", signals.sine(440, seconds=1))
    unnamed = signals.write(tmp_path / "x.wav", signals.sine(440, seconds=1))
    unnamed.rename(tmp_path / "no extension")
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "broken.mp3").write_text("text")
    (tmp_path / ".hidden.wav").write_text("text")
    assert names(tmp_path) == ["broken.mp3", "tone.WAV", "no extension"]


def test_a_path_with_glob_characters_names_itself(tmp_path) -> None:
    odd = signals.write(tmp_path / "a[1]*?.wav", signals.sine(440, seconds=1))
    signals.write(tmp_path / "a1.wav", signals.sine(440, seconds=1))
    assert names(odd) == ["a[1]*?.wav"]


def test_globs_and_repeats_give_each_file_once(tmp_path) -> None:
    for name in ("a.wav", "b.wav"):
        signals.write(tmp_path / name, signals.sine(440, seconds=1))
    assert names(tmp_path / "*.wav", tmp_path, tmp_path / "a.wav") == ["a.wav", "b.wav"]


def test_a_loop_of_links_ends(tmp_path) -> None:
    signals.write(tmp_path / "in" / "a.wav", signals.sine(440, seconds=1))
    (tmp_path / "in" / "loop").symlink_to(tmp_path)
    assert names(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("path", ["missing", "missing/*.wav"])
def test_a_missing_input_is_an_error(tmp_path, path: str) -> None:
    with pytest.raises(InputError, match=r"not found: .*missing"):
        find_sources([str(tmp_path / path)])


def test_a_folder_without_audio_is_an_error(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(InputError, match="no audio found"):
        find_sources([str(tmp_path)])


def test_the_fingerprint_changes_with_every_change_of_the_inputs(tmp_path) -> None:
    first = signals.write(tmp_path / "a.wav", signals.sine(440, seconds=1))

    def fingerprint() -> str:
        return inputs_fingerprint(find_sources([str(tmp_path)]))

    before = fingerprint()
    assert fingerprint() == before
    signals.write(tmp_path / "b.wav", signals.sine(440, seconds=1))
    added = fingerprint()
    assert added != before
    os.utime(first, (1, 1))
    assert fingerprint() != added
