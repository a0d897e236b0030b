"""Faults of the system are told apart from all others, and named with the place."""

from __future__ import annotations

import errno
import io
import os
import pathlib
import tempfile

import apache_beam as beam
import pytest
import soundfile

from audio.errors import MachineError, UnwritableError
from pipeline.console.root_cause import find_nocturne_error
from storage import faults, files
from tests.support import signals
from tests.support.system import small_disk

ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
RIGHTS = (errno.EACCES, errno.EPERM, errno.EROFS)
PROCESS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
DISK = (errno.EIO, errno.ESTALE)
NETWORK = (errno.ECONNRESET, errno.ETIMEDOUT, errno.ENETUNREACH, errno.ECONNREFUSED)


def error_of(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), *([path] if path else []))


@pytest.mark.parametrize(
    ("numbers", "exit_code", "advice"),
    [
        (ROOM, 11, "Free some space"),
        (RIGHTS, 11, "the right to use it"),
        (PROCESS[:2], 14, "ulimit -n"),
        (PROCESS[2:], 14, "more memory"),
        (DISK, 14, "Check the disk"),
        (NETWORK, 14, "Check the network"),
    ],
)
def test_every_fault_has_an_exit_code_a_place_and_advice(numbers, exit_code, advice) -> None:
    for number in numbers:
        fault = faults.find_fault(error_of(number, "/music/a.wav"))
        assert fault is not None
        assert fault.exit_code == exit_code
        assert str(fault).startswith(f"/music/a.wav: {os.strerror(number)}. ")
        assert advice in str(fault)
        assert "run the same command again" in str(fault)


@pytest.mark.parametrize(
    ("text", "exit_code"),
    [
        ("Traceback\nOSError: [Errno 28] No space left on device [while running 'Write-1']", 11),
        ("{{function_node x}} /a/part-0; No space left on device [Op:SaveV2]", 11),
        ("Error when executing query: database or disk is full", 11),
        ("4096 requested and 128 written", 11),
        ("OSError: [Errno 24] Too many open files: '/a'", 14),
        ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 9 GiB", 14),
        ("google.api_core.exceptions.ServiceUnavailable: 503 GET", 14),
        ("ConnectionResetError: [Errno 104] Connection reset by peer", 14),
    ],
)
def test_a_fault_is_found_in_the_text_that_another_library_passes_on(text, exit_code) -> None:
    fault = faults.find_fault(RuntimeError(text))
    assert fault is not None
    assert fault.exit_code == exit_code
    assert "while running" not in str(fault)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad shape"),
        error_of(errno.ENOENT, "a"),
        error_of(errno.EPIPE),
        OSError("no number"),
        RuntimeError("audio.errors.UnwritableError: cannot write a: No space left on device."),
    ],
)
def test_any_other_error_is_no_fault_of_the_system(error) -> None:
    assert faults.find_fault(error) is None


def test_a_fault_without_a_place_gets_that_of_the_work() -> None:
    with pytest.raises(UnwritableError, match=r"^clips: No space left"), faults.named("clips"):
        raise error_of(errno.ENOSPC)
    with pytest.raises(UnwritableError, match=r"^clips/a\.wav: No"), faults.named("clips"):
        raise error_of(errno.ENOSPC, "clips/a.wav")
    with pytest.raises(UnwritableError, match=r"^clips: .*database"), faults.named("clips"):
        raise ValueError("wrapped") from RuntimeError("database or disk is full")
    with pytest.raises(KeyError), faults.named("clips"):
        raise KeyError("other")


def _fill(element: int) -> None:
    raise error_of(errno.ENOSPC, f"/full/{element}")


def test_a_fault_survives_beam() -> None:
    with pytest.raises(Exception, match="No space") as caught, beam.Pipeline("FnApiRunner") as job:
        job | beam.Create([7]) | beam.Map(_fill)
    found = find_nocturne_error(caught.value)
    assert isinstance(found, UnwritableError)
    assert "No space left on device: '/full/7'" in str(found)


def test_writing_and_reading_name_the_file() -> None:
    assert str(faults.unwritable(error_of(errno.EIO), "a")).startswith("cannot write a: Input/out")
    assert isinstance(faults.unwritable(error_of(errno.EIO), "a"), UnwritableError)
    assert isinstance(faults.unwritable(error_of(errno.EMFILE), "a"), MachineError)
    assert isinstance(faults.unreadable(error_of(errno.EIO), "a"), MachineError)
    # Only the copy of a remote file can fill a disk while it is read.
    full = faults.unreadable(error_of(errno.ENOSPC), "gs://a")
    assert isinstance(full, UnwritableError)
    assert f"gs://a to {tempfile.gettempdir()}" in str(full)


class _FailingFile(io.BytesIO):
    """A file on a disk that fails after some calls."""

    def __init__(self, content: bytes, calls: int) -> None:
        super().__init__(content)
        self._left = calls

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise error_of(errno.EIO)

    def readinto(self, buffer: object) -> int:
        self._count()
        return super().readinto(buffer)  # type: ignore[arg-type]

    def write(self, data: object) -> int:
        self._count()
        return super().write(data)  # type: ignore[arg-type]


def _explain(error: OSError | MemoryError) -> MachineError:
    return MachineError(f"the disk: {error}")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("calls", [0, 3, 30])
def test_a_library_in_c_cannot_drop_a_fault(calls: int) -> None:
    whole = io.BytesIO()
    soundfile.write(whole, signals.tune(seconds=20), 22050, format="FLAC")
    reading = _FailingFile(whole.getvalue(), calls)
    with pytest.raises(MachineError, match="the disk: "), faults.watching(reading, _explain) as f:
        soundfile.read(f)
    writing = _FailingFile(b"", calls)
    with pytest.raises(MachineError, match="the disk: "), faults.watching(writing, _explain) as f:
        soundfile.write(f, signals.tune(seconds=20), 22050, format="FLAC")


def test_a_place_before_the_start_of_a_file_is_no_fault(tmp_path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with (tmp_path / "a").open("rb") as opened:
        with pytest.raises(OSError, match="Invalid"), faults.watching(opened, _explain) as file:
            file.seek(-1)
        with faults.watching(opened, _explain) as file:
            assert file.read() == b"abc"


def test_a_write_that_fails_leaves_nothing_and_names_the_file(tmp_path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=100) as disk:
        path = disk / "a" / "big.bin"
        with pytest.raises(UnwritableError, match=r"cannot write .*big\.bin: No space left"):
            files.write_text(str(path), "x" * 200_000)
        assert [found for found in disk.rglob("*") if found.is_file()] == []
        files.write_text(str(path), "x")
        with (
            pytest.raises(UnwritableError, match="No space left"),
            files.atomic_folder(str(disk / "folder")) as partial,
            files.atomic_file(f"{partial}/big.bin") as file,
        ):
            file.write(bytes(200_000))
        assert sorted(found.name for found in disk.iterdir()) == ["a"]


def test_an_error_of_what_is_read_meanwhile_is_not_one_of_writing(tmp_path) -> None:
    with (
        pytest.raises(FileNotFoundError),
        files.atomic_file(str(tmp_path / "copy")) as file,
        pathlib.Path(tmp_path, "missing").open("rb") as missing,
    ):
        file.write(missing.read())
    assert not list(tmp_path.iterdir())
