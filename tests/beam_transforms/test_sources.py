import errno
import os
import pathlib

import pytest

from audio.errors import InputError, MachineError
from beam_transforms import sources
from beam_transforms.settings import inputs_fingerprint
from beam_transforms.sources import find_sources, format_passed_over, scan_inputs
from tests.support import signals, sound_files


def names(*inputs: object) -> list[str]:
    found = find_sources([str(path) for path in inputs])
    return [pathlib.Path(source.uri).name for source in found]


def test_a_folder_gives_files_with_the_name_or_content_of_audio(tmp_path) -> None:
    signals.write(tmp_path / "deep" / "er" / "tone.WAV", signals.sine(440, seconds=1))
    unnamed = signals.write(tmp_path / "x.wav", signals.sine(440, seconds=1))
    unnamed.rename(tmp_path / "no extension")
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "broken.mp3").write_text("text")
    assert names(tmp_path) == ["broken.mp3", "tone.WAV", "no extension"]
    assert [source.by_content for source in find_sources([str(tmp_path)])] == [False, False, True]


def test_a_name_that_begins_with_a_dot_is_music_unless_macos_or_a_program_wrote_it(
    tmp_path,
) -> None:
    tone = signals.sine(440, seconds=1)
    wanted = ["...And Justice/One.wav", ".38 Special/.hidden.wav", "._ is a song.wav", ".wav"]
    for name in [*wanted, ".git/a.wav", ".Trash-1000/b.wav", "__MACOSX/c.wav"]:
        signals.write(tmp_path / name, tone, format="WAV")
    (tmp_path / "._One.wav").write_bytes(b"\x00\x05\x16\x07" + bytes(4092))
    found = scan_inputs([str(tmp_path)])
    assert sorted(str(pathlib.Path(s.uri).relative_to(tmp_path)) for s in found.sources) == wanted
    assert found.passed_over == {"AppleDouble": 1, "system folder": 3}


def test_what_is_passed_over_is_counted_by_kind(tmp_path) -> None:
    signals.write(tmp_path / "in" / "a.wav", signals.sine(440, seconds=1))
    sidecars = {
        "a.webp": b"RIFF\x20\x00\x00\x00WEBPVP8 " + bytes(24),
        "b.WEBP": b"RIFF\x20\x00\x00\x00WEBPVP8 " + bytes(24),
        "Album.log": "Exact Audio Copy V1.6".encode("utf-16"),
        "clip.avi": b"RIFF\x64\x00\x00\x00AVI LIST" + bytes(100),
        "pic.iff": b"FORM\x00\x00\x00\x64ILBMBMHD" + bytes(100),
        "film.ogv": b"OggS\x00\x02" + bytes(20) + b"\x01\x07\x80theora",
        "README": b"text",
        "a.b c": b"text",
    }
    for name, content in sidecars.items():
        (tmp_path / "in" / name).write_bytes(content)
    (tmp_path / "in" / "loop").symlink_to(tmp_path)
    found = scan_inputs([str(tmp_path / "in")])
    assert names(tmp_path / "in") == ["a.wav"]
    assert found.passed_over == {
        ".webp": 2, ".log": 1, ".avi": 1, ".iff": 1, ".ogv": 1, "without a suffix": 2,
        "link to a folder": 1,
    }  # fmt: skip
    assert format_passed_over(found.passed_over).startswith("2 .webp, 2 without a suffix, 1 .avi")


def test_a_file_that_another_input_names_is_not_passed_over(tmp_path) -> None:
    signals.write(tmp_path / "a.wav", signals.sine(440, seconds=1))
    (tmp_path / "odd.xyz").write_text("text")
    found = scan_inputs([str(tmp_path), str(tmp_path / "odd.xyz")])
    assert found.passed_over == {}
    assert [source.by_content for source in found.sources] == [False, False]


FOREIGN = ["song.mka", "song.webm", "song.wv", "song.tta", "song.ac3", "song.mp4"]


@pytest.mark.parametrize("installed", [False, True])
def test_formats_of_the_optional_decoder_are_found_where_it_is(
    tmp_path, monkeypatch, installed: bool
) -> None:
    monkeypatch.setattr(sources, "has_pyav", lambda: installed)
    signals.write(tmp_path / "a.wav", signals.sine(440, seconds=1))
    for name in FOREIGN:
        kind = {"mp4": "m4a"}.get(name[5:], name[5:])
        (tmp_path / name).write_bytes(sound_files.make(kind, sound_files.tune(1)))
    found = scan_inputs([str(tmp_path)])
    if installed:
        assert names(tmp_path) == sorted(["a.wav", *FOREIGN])
        assert found.passed_over == {}
    else:
        assert names(tmp_path) == ["a.wav"]
        assert found.passed_over == {f".{name[5:]}": 1 for name in FOREIGN}
        assert "1 .wv (`pip install av` to read them)" in format_passed_over(found.passed_over)


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
    with pytest.raises(InputError, match=r"no audio found.*It has 1 \.txt"):
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


def test_too_many_open_files_pass_nothing_over(tmp_path, monkeypatch) -> None:
    (tmp_path / "song").write_bytes(b"RIFF....WAVEfmt ")

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files", str(tmp_path / "song"))

    monkeypatch.setattr(pathlib.Path, "open", fail)
    with pytest.raises(MachineError, match=r"song: Too many open files\. Raise the limit"):
        scan_inputs([str(tmp_path)])
