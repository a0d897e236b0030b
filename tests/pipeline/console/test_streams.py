"""Output that nobody reads, or that cannot be written, ends no job and reaches no file."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest

from pipeline.console import streams
from pipeline.console.streams import json_printable, lossy_writer, printable
from pipeline.console.terminal import Console
from tests.support import signals
from tests.support.command import NOCTURNE, nocturne


def test_hidden_characters_are_written_as_escapes() -> None:
    assert printable("a\x1b[2J\r\n\t\x7f\x9b\u202e\udce9é 音 👩‍🚀") == (
        r"a\x1b[2J\r\n\t\x7f\x9b\u202e\udce9é 音 👩‍🚀"
    )


def test_json_stays_the_same_json() -> None:
    value = {"message": "a\x1b\x7f\x9b\u2028é", "bytes": "\udce9"}
    text = json_printable(json.dumps(value, ensure_ascii=False))
    assert text == r'{"message": "a\u001b\u007f\u009b\u2028é", "bytes": "\udce9"}'
    assert json.loads(text) == value


def test_a_line_shows_control_characters_markup_and_emoji_as_they_are(tmp_path) -> None:
    for index, name in enumerate(["\x1b]0;owned\x07", "[red]:bell:[red]", "caf\udce9"]):
        signals.write(tmp_path / "new" / "a.wav", signals.tune(seconds=3, seed=index))
        (tmp_path / "new").rename(tmp_path / name)
    done = nocturne("prepare", "--input", ".", "--output", "out", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert r"/\x1b]0;owned\x07/a.wav" in done.stdout
    assert "/[red]:bell:[red]/a.wav" in done.stdout
    assert r"/caf\udce9/a.wav" in done.stdout
    assert "\x1b" not in done.stdout
    done = nocturne("card", "\x1b[31m\rred", cwd=tmp_path)
    assert done.stderr.startswith(r"nocturne: \x1b[31m\rred is not a finished dataset")


@pytest.mark.parametrize("kind", ["full disk", "closed pipe", "read only"])
def test_what_cannot_be_written_is_lost(kind: str) -> None:
    if kind == "closed pipe":
        reader, descriptor = os.pipe()
        os.close(reader)
    else:
        flags = os.O_WRONLY if kind == "full disk" else os.O_RDONLY
        descriptor = os.open("/dev/full", flags)
    with lossy_writer(descriptor) as file:
        print("x" * 100_000, file=file, flush=True)
        print("y", file=file)
    os.close(descriptor)


def test_a_console_without_a_reader_goes_on(monkeypatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr("pipeline.console.terminal.lossy_writer", lambda _: lossy_writer(writer))
    with Console() as console, console.stage("work") as stage:
        stage.update(1, 2)
        console.line("text")
    os.close(writer)


def start(line: str, cwd: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Runs a line of bash in which {nocturne} is the command."""
    path = f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}"
    command = f"env {path} HOME={cwd}/home {NOCTURNE}"
    return subprocess.run(
        ["bash", "-c", line.format(nocturne=command)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def assert_quiet(done: subprocess.CompletedProcess[str]) -> None:
    for said in ("Traceback", "internal error", "Exception ignored", "logging error"):
        assert said not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{nocturne} init new | true; exit ${{PIPESTATUS[0]}}", 0),
        ("{nocturne} init new >&-", 0),
        ("{nocturne} init new >&- 2>&- <&-", 0),
        ("{nocturne} init new > /dev/full 2> /dev/full", 0),
        ("{nocturne} init new 1< /dev/null 2< /dev/null", 0),
        ("{nocturne} --log-format json init new 2> /dev/full", 0),
        ("{nocturne} init new; {nocturne} init new >&- 2>&- <&-", 6),
        ("{nocturne} init new; {nocturne} run nodes training | true; exit ${{PIPESTATUS[0]}}", 0),
        ("{nocturne} init new; {nocturne} --help | true; exit ${{PIPESTATUS[0]}}", 0),
    ],
)
def test_a_command_works_without_its_streams(tmp_path, line: str, code: int) -> None:
    done = start(line, tmp_path)
    assert done.returncode == code, done.stderr
    assert_quiet(done)
    written = {path.name: path.read_text() for path in (tmp_path / "new").iterdir()}
    assert set(written) == {"LAYOUT.md", "config.schema.json", "nocturne.yaml"}
    assert written["nocturne.yaml"].startswith("# yaml-language-server")
    assert json.loads(written["config.schema.json"])


def test_what_others_print_is_escaped_too(tmp_path) -> None:
    """Such as the names that a shell puts in place of a pattern."""
    done = start("{nocturne} card one $'\\e[31mtwo\\r'", tmp_path)
    assert done.returncode == 2
    assert r"\x1b[31mtwo\x0d" in done.stderr or r"\x1b[31mtwo\r" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "{nocturne} prepare --input in --output out >&- 2>&- <&-",
        "{nocturne} prepare --input in --output out --json | head -c 5; exit ${{PIPESTATUS[0]}}",
        "{nocturne} prepare --input in --output out > /dev/full",
    ],
)
def test_a_job_is_done_without_its_streams(tmp_path, line: str) -> None:
    signals.write(tmp_path / "in" / "a.wav", signals.tune(seconds=3))
    done = start(line, tmp_path)
    assert done.returncode == 0, done.stderr
    assert_quiet(done)
    assert (tmp_path / "out" / "COMPLETED").exists()


def test_a_result_that_a_full_disk_loses_is_an_error(tmp_path) -> None:
    done = start("{nocturne} run nodes training --json > /dev/full", tmp_path)
    assert done.returncode == 11
    assert done.stderr == (
        "nocturne: the result cannot be written to stdout: No space left on device. "
        "The work itself is done.\n"
    )


def test_standard_streams_are_opened_before_any_other_file(tmp_path) -> None:
    code = (
        "import os\n"
        "from pipeline.console.streams import protect_standard_streams\n"
        "protect_standard_streams()\n"
        f"file = open({str(tmp_path / 'data')!r}, 'w')\n"
        "assert file.fileno() > 2\n"
        "print('noise', flush=True)\n"
        "os.write(2, b'more noise')\n"
    )
    line = f'exec {NOCTURNE.with_name("python")} -c "$CODE" >&- 2>&- <&-'
    root = pathlib.Path(streams.__file__).parents[2]
    done = subprocess.run(
        ["bash", "-c", line], env={"CODE": code, "PYTHONPATH": str(root)}, check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "data").read_text() == ""
