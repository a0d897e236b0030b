"""Publishing to Google Cloud Storage, through faults, against an emulator on loopback."""

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
from audio.errors import OutputExistsError, UnwritableError
from generator import generate
from storage import outputs
from storage.outputs import Bucket
from tests.generator.test_generate import SETTINGS, contents
from tests.support.gcs import CLIENTS, emulator
from tests.support.storage_faults import Faults, faulty_storage

pytestmark = CLIENTS


@pytest.fixture
def faults(tmp_path, monkeypatch) -> Iterator[Faults]:
    with emulator(tmp_path, monkeypatch):
        address = os.environ["STORAGE_EMULATOR_HOST"].removeprefix("http://")
        with faulty_storage(address) as served:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{served.address}")
            yield served


def fetched(bucket: Bucket) -> dict[str, bytes | None]:
    return {name: bucket.read(name) for name in sorted(bucket.list_names(limit=1000))}


UPLOAD = ("POST", "/upload/")


@pytest.mark.parametrize("fault", [503, 429, "reset", "lost", "slow"])
def test_a_clip_is_written_once_whatever_becomes_of_the_answer(faults, fault) -> None:
    bucket = Bucket("gs://songs/night")
    faults.planned += [(*UPLOAD, fault)]
    bucket.publish("clip.wav", b"sound")
    assert not faults.planned
    assert fetched(bucket) == {"clip.wav": b"sound"}
    assert faults.written == {"night/clip.wav": 1}


def test_a_forgotten_resumable_upload_is_begun_anew(faults) -> None:
    content = os.urandom(9 << 20)
    bucket = Bucket("gs://songs/night")
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


def test_equal_bytes_are_no_conflict_and_other_ones_stay(faults) -> None:
    bucket = Bucket("gs://songs/night")
    bucket.publish("clip.wav", b"sound")
    bucket.publish("clip.wav", b"sound")
    with pytest.raises(OutputExistsError, match=r"gs://songs/night/clip\.wav exists and differs"):
        bucket.publish("clip.wav", b"other")
    assert fetched(bucket) == {"clip.wav": b"sound"}
    assert bucket.checksum("clip.wav") == google_crc32c.value(b"sound")
    assert bucket.checksum("none.wav") is None


def test_what_is_replaced_is_what_was_read_and_equal_bytes_are_not_sent(faults) -> None:
    bucket = Bucket("gs://songs/night")
    for content in (b"one", b"one", b"two"):
        bucket.replace("index.html", content)
    assert fetched(bucket) == {"index.html": b"two"}
    sent = [path for method, path in faults.requests if "/upload/" in path]
    assert len(sent) == 2
    assert "ifGenerationMatch=0&" in f"{sent[0]}&"
    assert re.search(r"ifGenerationMatch=[1-9]", sent[1])
    # Written, but the answer is lost: the second try is told that the object is another by now.
    faults.planned += [(*UPLOAD, "lost"), (*UPLOAD, 412)]
    bucket.replace("index.html", b"three")
    assert not faults.planned
    assert fetched(bucket) == {"index.html": b"three"}
    faults.planned += [(*UPLOAD, 412)]
    with pytest.raises(UnwritableError, match="was changed by another process"):
        bucket.replace("index.html", b"four")


def test_no_permission_is_one_line_with_a_remedy_and_no_secret(faults) -> None:
    faults.planned += [(*UPLOAD, 403)]
    with pytest.raises(UnwritableError, match=r"access is denied.*roles/storage") as error:
        Bucket("gs://songs/night").publish("clip.wav", b"sound")
    assert "\n" not in str(error.value)
    assert "http" not in str(error.value)
    assert error.value.__cause__ is None


def test_storage_that_stays_away_is_given_up_with_a_line(faults, monkeypatch) -> None:
    monkeypatch.setattr(outputs, "_TIMEOUT_SECONDS", 2.0)
    faults.planned += [(*UPLOAD, 503)] * 50
    with pytest.raises(UnwritableError, match=r"did not answer as expected \(.*Run the same"):
        Bucket("gs://songs/night").publish("clip.wav", b"sound")


def test_a_storage_that_is_away_for_a_while_is_waited_for(faults) -> None:
    bucket = Bucket("gs://songs/night")
    alive, faults.emulator = faults.emulator, "127.0.0.1:9"
    timer = threading.Timer(1.5, lambda: setattr(faults, "emulator", alive))
    timer.start()
    bucket.publish("clip.wav", b"sound")
    timer.join()
    assert fetched(bucket) == {"clip.wav": b"sound"}
    assert len([path for _, path in faults.requests if "/upload/" in path]) > 1


def storage_process(folder: pathlib.Path, address: str) -> subprocess.Popen[bytes]:
    """An emulator in a process of its own, whose objects are files."""
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


def test_a_storage_that_is_killed_among_uploads_and_comes_back_loses_nothing(
    faults, tmp_path
) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        faults.emulator = f"127.0.0.1:{sock.getsockname()[1]}"
    (tmp_path / "objects").mkdir()
    running = [storage_process(tmp_path / "objects", faults.emulator)]

    def kill_and_restart() -> None:
        running[-1].kill()
        running[-1].wait()
        time.sleep(1.0)
        running.append(storage_process(tmp_path / "objects", faults.emulator))

    wanted = {f"clip-{index}.wav": os.urandom(5000) for index in range(12)}
    bucket, killer = Bucket("gs://songs/night"), threading.Thread(target=kill_and_restart)
    try:
        for index, (name, content) in enumerate(wanted.items()):
            if index == 4:
                killer.start()
            bucket.publish(name, content)
        killer.join()
        assert len(running) == 2
        assert fetched(bucket) == wanted
        assert set(faults.written.values()) == {1}
    finally:
        killer.join()
        for process in running:
            process.kill()
            process.wait()


def run(model: pathlib.Path, output: str, **changes: Any) -> dict[str, Any]:
    settings = dataclasses.replace(SETTINGS, **changes)
    return generate.run(model_path=str(model), output=output, settings=settings)


def test_a_night_on_a_bucket_is_the_night_in_a_folder(faults, model, tmp_path) -> None:
    """Broken at its second clip, taken up again: no clip is written twice, nothing is left over."""
    run(model, str(tmp_path / "clips"))
    wanted = contents(tmp_path / "clips")
    real = Bucket.publish
    broken: list[str] = []

    def breaks(self: Bucket, name: str, content: bytes) -> None:
        if name == "clip-0001.wav" and not broken:
            broken.append(name)
            raise RuntimeError("power cut")
        real(self, name, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bucket, "publish", breaks)
        with pytest.raises(RuntimeError, match="power cut"):
            run(model, "gs://songs/night")
    bucket = Bucket("gs://songs/night")
    assert contract.COMPLETED not in bucket.list_names(limit=100)
    assert contract.MANIFEST not in bucket.list_names(limit=100)
    faults.planned += [(*UPLOAD, 503), (*UPLOAD, "lost")]
    run(model, "gs://songs/night")
    assert sorted(bucket.list_names(limit=100)) == sorted(wanted)
    for name in wanted:
        assert bucket.read(name) == (tmp_path / "clips" / name).read_bytes()
    assert {count for name, count in faults.written.items() if name.endswith(".wav")} == {1}
    with pytest.raises(OutputExistsError, match="already holds a finished run"):
        run(model, "gs://songs/night")
    Bucket("gs://songs/other").publish("thesis.txt", b"years")
    with pytest.raises(OutputExistsError, match="Nocturne did not start it"):
        run(model, "gs://songs/other")
