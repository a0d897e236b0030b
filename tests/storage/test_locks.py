"""One process at a time writes to an output, and a lock ends with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys

import pytest

from audio.errors import BusyError, UnwritableError
from storage import locks
from storage.locks import LOCK, exclusive, file_lock
from tests.support.system import small_disk

PROJECT = pathlib.Path(__file__).parents[2]
HOLDS = """
import sys
from storage.locks import exclusive
with exclusive(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(folder: object) -> subprocess.Popen[str]:
    """Starts a process that holds the lock of a folder until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_and_told_who_is_first(tmp_path) -> None:
    with start_holder(tmp_path / "out") as first:
        with (
            pytest.raises(BusyError) as caught,
            exclusive(str(tmp_path / "out")),
        ):
            pass
        assert caught.value.exit_code == 6
        said = rf"{tmp_path}/out: another process is at work there \(pid {first.pid} on "
        assert re.match(said + re.escape(platform.node()) + r", since 20..-", str(caught.value))
        with exclusive(str(tmp_path / "other")):  # another output is free
            pass


def test_a_lock_ends_when_its_process_is_killed(tmp_path) -> None:
    with start_holder(tmp_path / "out") as first:
        first.kill()
        first.wait()
        assert (tmp_path / "out" / LOCK).exists()
        with exclusive(str(tmp_path / "out")):
            pass
    assert not (tmp_path / "out" / LOCK).exists()


def test_a_lock_leaves_nothing_but_what_was_written(tmp_path) -> None:
    with exclusive(str(tmp_path / "a" / "b")):
        pass
    assert not list(tmp_path.iterdir())
    with exclusive(str(tmp_path / "a" / "b")):
        (tmp_path / "a" / "file").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "file"]
    (tmp_path / "mine").mkdir()
    with exclusive(str(tmp_path / "mine")):
        pass
    assert (tmp_path / "mine").is_dir()


def test_a_lock_that_was_removed_while_another_waited_is_not_taken_for_the_new_one(
    tmp_path, monkeypatch
) -> None:
    flock, calls = fcntl.flock, []

    def remove_first(handle: int, mode: int) -> None:
        flock(handle, mode)
        calls.append(handle)
        if len(calls) == 1:  # the holder before removes its file
            (tmp_path / LOCK).unlink()

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with exclusive(str(tmp_path)):
        assert (tmp_path / LOCK).exists()
        assert len(calls) == 2


def test_a_lock_that_stays_waits_without_a_message(tmp_path) -> None:
    with file_lock(tmp_path / "x.lock"):
        pass
    assert (tmp_path / "x.lock").exists()
    with (
        file_lock(tmp_path / "x.lock", "busy"),
        pytest.raises(BusyError, match=r"^busy \(pid"),
        file_lock(tmp_path / "x.lock", "busy"),
    ):
        pass


def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch, caplog) -> None:
    def fail(handle: int, mode: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with exclusive(str(tmp_path)):
        pass
    assert "has no locks" in caplog.text


def test_a_lock_that_cannot_be_made_is_reported_with_its_place(tmp_path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UnwritableError, match=rf"cannot write {tmp_path}/file/{LOCK}: "),
        exclusive(str(tmp_path / "file")),
    ):
        pass


def test_a_full_disk_does_not_hinder_a_lock(tmp_path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=20) as disk:
        (disk / "big").write_bytes(bytes(20 * 1024))
        with exclusive(str(disk)):
            assert (disk / LOCK).read_bytes() == b""
            with (
                pytest.raises(BusyError, match="it does not say which"),
                exclusive(str(disk)),
            ):
                pass


class _MemoryBucket:
    """A bucket with generations."""

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.generation = 0
        self.broken = False

    def read_version(self, name: str) -> tuple[bytes, int] | None:
        assert name == LOCK
        return None if self.content is None else (self.content, self.generation)

    def write_version(self, name: str, content: bytes, generation: int) -> bool:
        if self.broken:
            raise UnwritableError("the storage service did not answer")
        if generation != (self.generation if self.content is not None else 0):
            return False
        self.content, self.generation = content, self.generation + 1
        return True

    def remove_version(self, name: str, generation: int) -> None:
        if generation == self.generation:
            self.content = None


@pytest.fixture
def bucket(monkeypatch) -> _MemoryBucket:
    made = _MemoryBucket()
    monkeypatch.setattr(locks, "Bucket", lambda path: made)
    return made


def test_a_bucket_has_one_lock_too(bucket) -> None:
    with exclusive("gs://b/out"):
        with (
            pytest.raises(BusyError, match=rf"gs://b/out: .* \(pid {os.getpid()} on "),
            exclusive("gs://b/out"),
        ):
            pass
        assert bucket.content is not None
    assert bucket.content is None


def test_a_lock_in_a_bucket_that_nobody_renews_is_taken_over(bucket, monkeypatch) -> None:
    monkeypatch.setattr(locks, "_EXPIRY_SECONDS", -1.0)
    killed = locks._BucketLock(bucket, "busy")
    killed.take()
    monkeypatch.undo()
    monkeypatch.setattr(locks, "Bucket", lambda path: bucket)
    with exclusive("gs://b/out"):
        assert bucket.generation == 2
        with pytest.raises(BusyError):
            killed.renew()
        killed.release()
        assert bucket.content is not None  # the lock of the other
    assert bucket.content is None


def test_a_lock_in_a_bucket_is_renewed(bucket, monkeypatch) -> None:
    monkeypatch.setattr(locks, "_RENEWAL_SECONDS", 0.01)
    with exclusive("gs://b/out"):
        while bucket.generation < 4:
            pass
    assert bucket.content is None


def _take_and_wait(bucket: _MemoryBucket) -> None:
    with exclusive("gs://b/out"):
        bucket.content, bucket.generation = b'{"token": "another"}', 99
        while True:
            pass


@pytest.mark.timeout(30)
@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_work_ends_when_its_lock_was_taken(bucket, monkeypatch, handler) -> None:
    """Also in a process that ignores Ctrl-C, as one that nohup or cron started."""
    monkeypatch.setattr(locks, "_RENEWAL_SECONDS", 0.01)
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(BusyError, match="another process"):
            _take_and_wait(bucket)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert bucket.generation == 99


def test_a_bucket_that_is_away_for_a_while_does_not_end_the_work(bucket, monkeypatch) -> None:
    lock = locks._BucketLock(bucket, "busy")
    lock.take()
    bucket.broken = True
    lock.renew()
    monkeypatch.setattr(lock, "_expires", 0.0)
    with pytest.raises(UnwritableError, match="did not answer"):
        lock.renew()
