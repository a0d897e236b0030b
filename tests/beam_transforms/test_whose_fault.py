"""A file is rejected for its bytes alone; faults of the system end the job and are not remembered.

See docs/decisions/0017-faults.md.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import pathlib
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import soundfile

from audio import contract
from audio.errors import MachineError, NocturneError, TooManyRejectedError, UnwritableError
from beam_transforms import shards, staging
from beam_transforms.settings import PrepareSettings, inputs_fingerprint
from beam_transforms.sources import find_sources
from pipeline.console.root_cause import find_nocturne_error
from storage import files
from tests.support import signals
from tests.support.prepared import (
    AUDIO,
    SETTINGS,
    recordings,
    records,
    rejected,
    retry_rejected,
    run,
    tree,
)
from tests.support.system import resize_disk, small_disk

STRICT = PrepareSettings(chunk_frames=100, eval_share=0.25, max_rejected_share=0.0)
FAULTS_OF_READING = (
    errno.EIO, errno.ESTALE, errno.ECONNRESET, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE,
    errno.ENOMEM, errno.ENOSPC,
)  # fmt: skip


class FailingFile(io.BytesIO):
    """A file that cannot be read to its end."""

    def __init__(self, content: bytes, error: OSError | None) -> None:
        super().__init__(content)
        self._error = error

    def _fail(self) -> None:
        if self._error and self.tell() > 40_000:
            raise self._error

    def read(self, size: int | None = -1) -> bytes:
        self._fail()
        return super().read(size)

    def readinto(self, buffer: Any) -> int:
        self._fail()
        return super().readinto(buffer)


@contextlib.contextmanager
def failing(patch: pytest.MonkeyPatch, name: str, number: int, *, late: bool) -> Iterator[None]:
    """Lets a file fail when it is opened, or later, when it is read."""
    open_local = files.open_local
    error = OSError(number, os.strerror(number))

    @contextlib.contextmanager
    def open_and_fail(path: str) -> Iterator[Any]:
        with open_local(path) as file:
            if not path.endswith(name):
                yield file
            elif late:
                yield FailingFile(file.read(), error)
            else:
                raise error

    with patch.context() as inner:
        inner.setattr(files, "open_local", open_and_fail)
        yield


def failure(work: Callable[[], object]) -> NocturneError:
    """Returns the error with which work ends, as the command line finds it."""
    with pytest.raises(Exception, match=r".") as caught:
        work()
    found = find_nocturne_error(caught.value)
    assert isinstance(found, NocturneError), found
    return found


def is_remembered(output: pathlib.Path, name: str) -> bool:
    """Returns whether anything is remembered of a file."""
    outcomes = (output / staging.FOLDER).glob("*.json")
    return any(f"/{name}" in path.read_text() for path in outcomes)


@pytest.fixture
def expected(music, tmp_path) -> pathlib.Path:
    run(music, tmp_path / "expected")
    return tmp_path / "expected"


def stage(path: pathlib.Path, folder: pathlib.Path) -> Any:
    """Prepares one file, without Beam."""
    (source,) = find_sources([str(path)])
    return staging.stage_recording(source, staging=str(folder), audio=AUDIO, settings=SETTINGS)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("number", FAULTS_OF_READING)
def test_a_fault_while_a_source_is_read_is_no_rejection(
    tunes, tmp_path, monkeypatch, number: int, late: bool
) -> None:
    wanted = UnwritableError if number == errno.ENOSPC else MachineError
    said = f"cannot read {tunes}/2.wav.*{os.strerror(number)}"
    with (
        failing(monkeypatch, "2.wav", number, late=late),
        pytest.raises(wanted, match=said),
    ):
        stage(tunes / "2.wav", tmp_path)
    assert not list(tmp_path.iterdir())
    assert stage(tunes / "2.wav", tmp_path).recording


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_fault_while_a_source_is_read_ends_the_job(tunes, tmp_path, monkeypatch) -> None:
    output = tmp_path / "out"
    with failing(monkeypatch, "2.wav", errno.EIO, late=True):
        found = failure(lambda: run(tunes, output, STRICT))
    assert isinstance(found, MachineError)
    assert f"cannot read {tunes}/2.wav: Input/output error" in str(found)
    assert not (output / contract.COMPLETED).exists()
    assert not is_remembered(output, "2.wav")
    assert run(tunes, output, STRICT)["rejected"] == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("container", "subtype"),
    [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16")],
)
def test_no_decoder_takes_a_disk_that_fails_for_a_truncated_file(
    tmp_path, monkeypatch, container: str, subtype: str
) -> None:
    samples = signals.noise(seconds=20, level=0.3)
    soundfile.write(tmp_path / "a.wav", samples, 22050, format=container, subtype=subtype)
    with (
        failing(monkeypatch, "a.wav", errno.EIO, late=True),
        pytest.raises(MachineError, match=r"a\.wav: Input/output error"),
    ):
        stage(tmp_path / "a.wav", tmp_path / "staging")


def test_memory_that_runs_out_while_a_file_is_decoded_is_no_rejection(
    tunes, tmp_path, monkeypatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(staging, "extract_recording", fail)
    with pytest.raises(MachineError, match=r"0\.wav: out of memory"):
        stage(tunes / "0.wav", tmp_path)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENOENT])
def test_a_source_that_may_not_be_read_is_listed_and_tried_again(
    music, tmp_path, monkeypatch, expected, number: int
) -> None:
    output = tmp_path / "out"
    with failing(monkeypatch, "2.wav", number, late=False):
        # Too many, so that the dataset stays unfinished: the same command tries again.
        found = failure(lambda: run(music, output, STRICT))
        assert isinstance(found, TooManyRejectedError)
        # Few enough: the dataset says so, and --retry-rejected tries again.
        info = run(music, tmp_path / "without")
    row = rejected(tmp_path / "without")["2.wav"]
    assert (info["rejected"], info["not_read"]) == (1, 1)
    assert row["stage"] == "open"
    assert row["message"] == f"could not be read this time: {os.strerror(number)}"
    assert "--retry-rejected" in row["remedy"]
    run(music, output, STRICT)
    assert records(output) == records(expected)
    retry_rejected(tmp_path / "without", tmp_path / "again")
    assert len(recordings(tmp_path / "again")) == 4


def test_a_pipeline_sees_that_a_file_may_be_read_now(tunes, monkeypatch) -> None:
    before = inputs_fingerprint(find_sources([str(tunes)]))
    access = os.access
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: "2.wav" not in path and access(path, mode))
        assert inputs_fingerprint(find_sources([str(tunes)])) != before
    assert inputs_fingerprint(find_sources([str(tunes)])) == before


@pytest.mark.parametrize(
    ("limit", "raised"),
    [
        (PrepareSettings(max_rejected_share=0.0, min_seconds=4.5), {"min_seconds": 1.0}),
    ],
)
def test_a_rerun_with_another_limit_uses_the_file(music, tmp_path, limit, raised) -> None:
    assert isinstance(failure(lambda: run(music, tmp_path / "out", limit)), NocturneError)
    info = run(music, tmp_path / "out", PrepareSettings(max_rejected_share=0.0, **raised))
    assert info["rejected"] == 0


def test_a_file_that_took_too_long_is_tried_again(music, tmp_path) -> None:
    hurried = PrepareSettings(max_rejected_share=0.0, max_seconds_per_file=1e-9)
    failure(lambda: run(music, tmp_path / "out", hurried))
    assert not is_remembered(tmp_path / "out", "0.wav")
    assert run(music, tmp_path / "out", PrepareSettings())["rejected"] == 0


def test_a_rerun_after_a_decoder_was_installed_uses_the_file(tmp_path, monkeypatch) -> None:
    av = pytest.importorskip("av")
    music = tmp_path / "music"
    signals.write(music / "0.wav", signals.tune(seconds=3))
    samples = signals.tune(seconds=3, seed=1)
    with av.open(str(music / "song.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=22050, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = 22050
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "av", None)
        failure(lambda: run(music, tmp_path / "out", STRICT))
        assert "optional package av" in rejected(tmp_path / "out")["song.m4a"]["message"]
        assert is_remembered(tmp_path / "out", "song.m4a")
    run(music, tmp_path / "out", STRICT)
    assert len(recordings(tmp_path / "out")) == 2


def test_a_rejection_for_the_bytes_is_remembered(music, tmp_path, monkeypatch) -> None:
    (music / "bad.wav").write_bytes(b"RIFF no song")
    failure(lambda: run(music, tmp_path / "out", STRICT))

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(staging, "extract_recording", fail)
    assert isinstance(failure(lambda: run(music, tmp_path / "out", STRICT)), TooManyRejectedError)


def test_a_limit_of_the_size_of_files_is_no_fault_of_a_recording(music, tmp_path, expected) -> None:
    output = tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        found = failure(lambda: run(music, output))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(found, UnwritableError)
    assert f"cannot write {output}" in str(found)
    assert "File too large" in str(found)
    assert not (output / contract.COMPLETED).exists()
    run(music, output)
    assert records(output) == records(expected)
    assert tree(output) == tree(expected)


@pytest.mark.parametrize("kilobytes", [16, 80, 120])
def test_a_full_disk_ends_the_job_wherever_it_is_and_it_continues(
    tunes, tunes_dataset, tmp_path, kilobytes: int
) -> None:
    with small_disk(tmp_path / "disk", kilobytes=kilobytes) as disk:
        output = disk / "out"
        found = failure(lambda: run(tunes, output))
        assert isinstance(found, UnwritableError)
        assert f"{output}" in str(found)
        assert "No space left on device" in str(found)
        assert not (output / contract.COMPLETED).exists()
        resize_disk(disk, kilobytes=10_000)
        run(tunes, output)
        assert records(output) == records(tunes_dataset)
        assert tree(output) == tree(tunes_dataset)


def test_records_of_another_front_end_leave_no_marker(tunes, tmp_path, monkeypatch) -> None:
    parse = shards.parse_example

    def parse_another(record: bytes, name: str) -> bytes:
        return b"0123456789ab" if name == contract.FINGERPRINT else parse(record, name)

    monkeypatch.setattr(shards, "parse_example", parse_another)
    with pytest.raises(Exception, match=r"mixture: .* records of front end 0123456789ab"):
        run(tunes, tmp_path / "out")
    assert not (tmp_path / "out" / contract.COMPLETED).exists()
