"""Publishing to Google Cloud Storage despite faults, with an emulator on loopback."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import google_crc32c
import pytest

from audio import contract
from audio.errors import BusyError, OutputExistsError, UnwritableError
from generator import generate
from storage import outputs
from storage.locks import exclusive
from storage.outputs import Bucket
from tests.generator.test_generate import SETTINGS, contents
from tests.support.gcs import CLIENTS, emulator, free_port
from tests.support.storage_faults import Faults, faulty_storage

pytestmark = CLIENTS


@pytest.fixture
def faults(tmp_path, monkeypatch) -> Iterator[Faults]:
    with emulator(tmp_path, monkeypatch):
        address = os.environ["STORAGE_EMULATOR_HOST"].removeprefix("http://")
        with faulty_storage(address) as served:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{served.address}")
            yield served


def read_all(bucket: Bucket) -> dict[str, bytes | None]:
    return {name: bucket.read(name) for name in sorted(bucket.list_names(limit=1000))}


UPLOAD = ("POST", "/upload/")


@pytest.mark.parametrize("fault", [503, 429, "reset", "lost", "slow"])
def test_a_clip_is_written_once_even_if_the_answer_is_lost(faults, fault) -> None:
    bucket = Bucket("gs://songs/clips")
    faults.planned += [(*UPLOAD, fault)]
    bucket.publish("clip.wav", b"sound")
    assert not faults.planned
    assert read_all(bucket) == {"clip.wav": b"sound"}
    assert faults.written == {"clips/clip.wav": 1}


def test_a_forgotten_resumable_upload_is_started_again(faults) -> None:
    content = os.urandom(9 << 20)
    bucket = Bucket("gs://songs/clips")
    faults.planned += [("PUT", "/upload/", 410)]
    bucket.publish("hour.wav", content)
    assert not faults.planned
    assert bucket.read("hour.wav") == content
    assert [method for method, path in faults.requests if "/upload/" in path] == [
        "POST",
        "PUT",
        "POST",
        "PUT",
    ]


def test_equal_bytes_are_no_conflict_and_other_ones_are_kept(faults) -> None:
    bucket = Bucket("gs://songs/clips")
    bucket.publish("clip.wav", b"sound")
    bucket.publish("clip.wav", b"sound")
    with pytest.raises(OutputExistsError, match=r"gs://songs/clips/clip\.wav exists and differs"):
        bucket.publish("clip.wav", b"other")
    assert read_all(bucket) == {"clip.wav": b"sound"}
    assert bucket.checksum("clip.wav") == google_crc32c.value(b"sound")
    assert bucket.checksum("none.wav") is None


def test_replace_requires_the_generation_it_read_and_sends_no_equal_bytes(faults) -> None:
    bucket = Bucket("gs://songs/clips")
    for content in (b"one", b"one", b"two"):
        bucket.replace("index.html", content)
    assert read_all(bucket) == {"index.html": b"two"}
    sent = [path for method, path in faults.requests if "/upload/" in path]
    assert len(sent) == 2
    assert "ifGenerationMatch=0&" in f"{sent[0]}&"
    assert re.search(r"ifGenerationMatch=[1-9]", sent[1])
    # The first upload is written, but its answer is lost, so the second finds another generation.
    faults.planned += [(*UPLOAD, "lost"), (*UPLOAD, 412)]
    bucket.replace("index.html", b"three")
    assert not faults.planned
    assert read_all(bucket) == {"index.html": b"three"}
    faults.planned += [(*UPLOAD, 412)]
    with pytest.raises(UnwritableError, match="was changed by another process"):
        bucket.replace("index.html", b"four")


def test_denied_access_is_reported_in_one_line_with_a_remedy_and_no_url(faults) -> None:
    faults.planned += [(*UPLOAD, 403)]
    with pytest.raises(UnwritableError, match=r"access is denied.*roles/storage") as error:
        Bucket("gs://songs/clips").publish("clip.wav", b"sound")
    assert "\n" not in str(error.value)
    assert "http" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_storage_service_that_stays_unavailable_is_reported(faults, monkeypatch) -> None:
    monkeypatch.setattr(outputs, "_TIMEOUT_SECONDS", 2.0)
    faults.planned += [(*UPLOAD, 503)] * 50
    with pytest.raises(UnwritableError, match=r"did not answer as expected \(.*Run the same"):
        Bucket("gs://songs/clips").publish("clip.wav", b"sound")


def test_a_storage_service_that_is_unavailable_for_a_while_is_waited_for(faults) -> None:
    bucket = Bucket("gs://songs/clips")
    alive, faults.emulator = faults.emulator, "127.0.0.1:9"
    timer = threading.Timer(1.5, lambda: setattr(faults, "emulator", alive))
    timer.start()
    bucket.publish("clip.wav", b"sound")
    timer.join()
    assert read_all(bucket) == {"clip.wav": b"sound"}
    assert len([path for _, path in faults.requests if "/upload/" in path]) > 1


def storage_process(folder: pathlib.Path, address: str) -> subprocess.Popen[bytes]:
    """Starts an emulator whose objects are files, in a process of its own."""
    code = (
        "import sys\n"
        "from gcp_storage_emulator.server import create_server\n"
        "host, port = sys.argv[1].split(':')\n"
        "create_server(host, int(port), data_dir=sys.argv[2], default_bucket='songs').run()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, address, str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    host, port = address.split(":")
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 0.1):
            return process
        time.sleep(0.05)
    raise AssertionError("the emulator did not start")


def test_a_storage_service_that_is_killed_and_restarted_loses_nothing(faults, tmp_path) -> None:
    faults.emulator = f"127.0.0.1:{free_port()}"
    (tmp_path / "objects").mkdir()
    running = [storage_process(tmp_path / "objects", faults.emulator)]

    def kill_and_restart() -> None:
        running[-1].kill()
        running[-1].wait()
        time.sleep(1.0)
        running.append(storage_process(tmp_path / "objects", faults.emulator))

    expected = {f"clip-{index}.wav": os.urandom(5000) for index in range(12)}
    bucket, killer = Bucket("gs://songs/clips"), threading.Thread(target=kill_and_restart)
    try:
        for index, (name, content) in enumerate(expected.items()):
            if index == 4:
                killer.start()
            bucket.publish(name, content)
        killer.join()
        assert len(running) == 2
        assert read_all(bucket) == expected
        assert set(faults.written.values()) == {1}
    finally:
        killer.join()
        for process in running:
            process.kill()
            process.wait()


def run(model: pathlib.Path, output: str, **changes: Any) -> dict[str, Any]:
    settings = dataclasses.replace(SETTINGS, **changes)
    return generate.run(model_path=str(model), output=output, settings=settings)


def test_a_run_into_a_bucket_gives_the_files_of_a_run_into_a_folder(
    faults, model, tmp_path
) -> None:
    """It fails at its second clip and is run again. No clip is written twice."""
    run(model, str(tmp_path / "clips"))
    expected = contents(tmp_path / "clips")
    publish = Bucket.publish

    def fail(self: Bucket, name: str, content: bytes) -> None:
        if name == "clip-0001.wav":
            raise RuntimeError("power cut")
        publish(self, name, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bucket, "publish", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            run(model, "gs://songs/clips")
    bucket = Bucket("gs://songs/clips")
    assert contract.COMPLETED not in bucket.list_names(limit=100)
    assert contract.MANIFEST not in bucket.list_names(limit=100)
    faults.planned += [(*UPLOAD, 503), (*UPLOAD, "lost")]
    run(model, "gs://songs/clips")
    assert sorted(bucket.list_names(limit=100)) == sorted(expected)
    for name in expected:
        assert bucket.read(name) == (tmp_path / "clips" / name).read_bytes()
    assert {count for name, count in faults.written.items() if name.endswith(".wav")} == {1}
    with pytest.raises(OutputExistsError, match="already holds a finished run"):
        run(model, "gs://songs/clips")
    Bucket("gs://songs/other").publish("thesis.txt", b"years")
    with pytest.raises(OutputExistsError, match="Nocturne did not start it"):
        run(model, "gs://songs/other")


def test_one_process_at_a_time_writes_to_a_prefix(faults) -> None:
    """The lock is an object; its upload is repeated because the first answer is lost."""
    faults.planned += [(*UPLOAD, "lost")]
    with exclusive("gs://songs/clips"):
        assert not faults.planned
        with (
            pytest.raises(BusyError, match=rf"^gs://songs/clips: .*\(pid {os.getpid()} on "),
            exclusive("gs://songs/clips/"),
        ):
            pass
        with exclusive("gs://songs/other"):
            pass
    assert Bucket("gs://songs/clips").list_names(limit=10) == []
