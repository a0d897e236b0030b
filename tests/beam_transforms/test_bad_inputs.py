"""Everything that a bucket may hold: each file is prepared right, or listed with a reason."""

from __future__ import annotations

import gzip
import io
import json
import os
import pathlib
import struct
import time

import numpy as np
import pytest
import soundfile

from audio import contract
from audio.config import AudioConfig
from beam_transforms import prepare
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_sources
from tests.support import signals

RATE = 44100
TUNE = signals.tune(seconds=3, rate=RATE)


def encoded(samples: np.ndarray, container: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format=container, subtype=subtype)
    return buffer.getvalue()


def wav(*, rate: int = RATE, channels: int = 1, content: bytes = bytes(88200)) -> bytes:
    """A WAV file whose header says what it is told to."""
    block = max(1, channels) * 2
    head = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * block & 0xFFFFFFFF, block, 16)
    chunks = b"fmt " + head + b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def with_one(value: float) -> np.ndarray:
    samples = TUNE.copy()
    samples[1000] = value
    return samples


# Name -> content, and what must be said of it; None where it must be prepared.
FILES: dict[str, tuple[bytes, str | None]] = {
    "empty.wav": (b"", "empty file"),
    "text.wav": (b"I am not a song.", "not readable as audio"),
    "header.wav": (wav(content=b""), "too short"),
    "truncated.wav": (encoded(TUNE)[:100_000], "truncated"),
    "truncated.flac": (encoded(TUNE, "FLAC")[:30_000], "decoding failed|truncated"),
    "truncated.ogg": (encoded(TUNE, "OGG", "VORBIS")[:9000], "truncated"),
    "truncated.mp3": (encoded(TUNE, "MP3", "MPEG_LAYER_III")[:10_000], "truncated"),
    "channels0.wav": (wav(channels=0), "not readable as audio"),
    "rate0.wav": (wav(rate=0), "sample rate|not readable as audio"),
    "rate4e9.wav": (wav(rate=4_000_000_000), "sample rate|not readable as audio"),
    "nan.wav": (encoded(with_one(np.nan), subtype="FLOAT"), "finite samples"),
    "inf.wav": (encoded(with_one(np.inf), subtype="FLOAT"), "finite samples"),
    "huge.wav": (encoded(with_one(1e30), subtype="FLOAT"), "finite samples"),
    "one sample.wav": (encoded(TUNE[:1]), "too short"),
    "10 ms.wav": (encoded(TUNE[:441]), "too short"),
    "silent.wav": (encoded(np.zeros(RATE * 2, np.float32)), "silent"),
    "dc.wav": (encoded(np.full(RATE * 2, 0.5, np.float32)), "silent"),
    "antiphase.wav": (encoded(np.stack([TUNE, -TUNE], axis=1)), "antiphase"),
    "picture.mp3": (
        b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)) * 20,
        "readable|truncated|short",
    ),
    "bomb.wav": (gzip.compress(bytes(50_000_000)), "not readable as audio"),
    "clipped.wav": (encoded(np.clip(20 * signals.tune(seconds=3, rate=RATE, seed=1), -1, 1)), None),
    "really flac.mp3": (encoded(signals.tune(seconds=3, rate=RATE, seed=2), "FLAC"), None),
    "ünï cödé\n[1]*?.wav": (encoded(signals.tune(seconds=3, rate=RATE, seed=3)), None),
    "good.wav": (encoded(TUNE), None),
    "zz the same.flac": (encoded(np.round(TUNE * 32767) / 32768, "FLAC"), None),
}  # fmt: skip


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("bucket")
    for name, (content, _) in FILES.items():
        (folder / name).write_bytes(content)
    undecodable = os.fsencode(folder) + b"/\xff\xfe.wav"
    with open(undecodable, "wb") as file:  # noqa: PTH123
        file.write(encoded(signals.tune(seconds=3, rate=RATE, seed=4)))
    (folder / "a folder.wav").mkdir()
    os.mkfifo(folder / "fifo.wav")
    (folder / "dangling.wav").symlink_to(folder / "nowhere.wav")
    (folder / "itself.wav").symlink_to(folder / "itself.wav")
    (folder / "loop").symlink_to(folder)
    (folder / "same again.wav").write_bytes(FILES["good.wav"][0])
    return folder


@pytest.fixture(scope="module")
def prepared(bucket, tmp_path_factory) -> tuple[pathlib.Path, float]:
    output = tmp_path_factory.mktemp("prepared") / "dataset"
    started = time.monotonic()
    prepare.run(
        sources=find_sources([str(bucket)]),
        output=str(output),
        audio=AudioConfig(n_mels=32),
        settings=PrepareSettings(max_rejected_share=0.95),
    )
    return output, time.monotonic() - started


@pytest.fixture(scope="module")
def rejected(prepared) -> dict[str, dict]:
    text = (prepared[0] / contract.REJECTED).read_text()
    return {pathlib.Path(row["uri"]).name: row for row in map(json.loads, text.splitlines())}


@pytest.mark.parametrize("name", [name for name, (_, said) in FILES.items() if said])
def test_what_cannot_be_used_is_listed_with_its_reason(rejected, name: str) -> None:
    content, said = FILES[name]
    row = rejected[name]
    assert set(row) == {"uri", "stage", "error", "message", "bytes", "sha256", "remedy"}
    assert any(one in row["message"] for one in said.split("|")), row["message"]  # type: ignore[union-attr]
    assert row["bytes"] == len(content)
    assert (row["sha256"] is None) == (not content)
    assert row["remedy"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fifo.wav", "not a regular file"),
        ("dangling.wav", "No such file"),
        ("itself.wav", "symbolic links"),
    ],
)
def test_what_is_no_file_is_listed(rejected, name: str, said: str) -> None:
    assert said in rejected[name]["message"]


def test_the_same_audio_is_kept_once(rejected, prepared) -> None:
    duplicates = {name for name, row in rejected.items() if row["error"] == "Duplicate"}
    assert duplicates == {"same again.wav"} or duplicates == {"same again.wav", "zz the same.flac"}
    assert "good.wav" in rejected["same again.wav"]["message"]


def test_everything_else_is_prepared_and_nothing_disappears(rejected, prepared, bucket) -> None:
    rows = (prepared[0] / contract.RECORDINGS).read_text().splitlines()
    kept = {json.loads(row)["source_uri"].rpartition("/")[2] for row in rows}
    wanted = {name for name, (_, said) in FILES.items() if said is None}
    assert kept | set(rejected) >= wanted
    assert "\udcff\udcfe.wav" in kept
    assert {"clipped.wav", "really flac.mp3", "ünï cödé\n[1]*?.wav", "good.wav"} <= kept
    looked_at = len(list(bucket.iterdir())) - 2  # the folder and the loop
    assert len(kept) + len(rejected) == looked_at


def test_it_takes_seconds(prepared) -> None:
    assert prepared[1] < 60


def test_a_file_that_takes_too_long_is_rejected(tmp_path) -> None:
    signals.write(tmp_path / "in" / "good.wav", signals.tune(seconds=3))
    signals.write(tmp_path / "in" / "long.wav", signals.noise(seconds=400))
    prepare.run(
        sources=find_sources([str(tmp_path / "in")]),
        output=str(tmp_path / "out"),
        audio=AudioConfig(n_mels=32),
        settings=PrepareSettings(max_rejected_share=0.5, max_seconds_per_file=0.02),
    )
    (row,) = (tmp_path / "out" / contract.REJECTED).read_text().splitlines()
    assert "too slow" in json.loads(row)["message"]
