"""Every kind of broken file that an input may have is rejected with a reason; the rest is kept."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import pathlib
import struct
import time
import types
from typing import Any

import numpy as np
import pytest
import soundfile

from audio import codec, contract
from audio.config import AudioConfig
from audio.errors import TooManyRejectedError
from beam_transforms import prepare
from beam_transforms.card import format_card
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_sources, scan_inputs
from storage import files
from tests.support import signals
from tests.support.prepared import recordings, rejected

RATE = 44100
TUNE = signals.tune(seconds=3, rate=RATE)


def encoded(samples: np.ndarray, container: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format=container, subtype=subtype)
    return buffer.getvalue()


def wav(*, rate: int = RATE, channels: int = 1, content: bytes = bytes(88200)) -> bytes:
    """Returns a WAV file whose header has any numbers."""
    block = max(1, channels) * 2
    head = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * block & 0xFFFFFFFF, block, 16)
    chunks = b"fmt " + head + b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def with_sample(value: float) -> np.ndarray:
    samples = TUNE.copy()
    samples[1000] = value
    return samples


# Content of each file, and the texts of which the reason has to contain one; None if it is usable.
FILES: dict[str, tuple[bytes, str | None]] = {
    "empty.wav": (b"", "empty file"),
    "text.wav": (b"I am not a song.", "not readable as audio"),
    "header.wav": (wav(content=b""), "too short"),
    "cut header.wav": (encoded(TUNE, subtype="FLOAT")[:44], "not readable as audio"),
    "truncated.wav": (encoded(TUNE)[:100_000], "truncated"),
    "truncated.flac": (encoded(TUNE, "FLAC")[:30_000], "decoding failed|truncated"),
    "truncated.ogg": (encoded(TUNE, "OGG", "VORBIS")[:9000], "truncated"),
    "truncated.mp3": (encoded(TUNE, "MP3", "MPEG_LAYER_III")[:10_000], "truncated"),
    "channels0.wav": (wav(channels=0), "not readable as audio"),
    "rate0.wav": (wav(rate=0), "sample rate|not readable as audio"),
    "rate4e9.wav": (wav(rate=4_000_000_000), "sample rate|not readable as audio"),
    "nan.wav": (encoded(with_sample(np.nan), subtype="FLOAT"), "finite samples"),
    "inf.wav": (encoded(with_sample(np.inf), subtype="FLOAT"), "finite samples"),
    "huge.wav": (encoded(with_sample(1e30), subtype="FLOAT"), "finite samples"),
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
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("inputs")
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
def prepared(folder, tmp_path_factory) -> tuple[pathlib.Path, dict[str, Any], float]:
    """The dataset, its info, and the time that preparing it took."""
    output = tmp_path_factory.mktemp("prepared") / "dataset"
    started = time.monotonic()
    info = prepare.run(
        sources=find_sources([str(folder)]),
        output=str(output),
        audio=AudioConfig(n_mels=32),
        settings=PrepareSettings(max_rejected_share=0.95),
    )
    return output, info, time.monotonic() - started


@pytest.fixture(scope="module")
def rows(prepared) -> dict[str, Any]:
    return rejected(prepared[0])


@pytest.mark.parametrize("name", [name for name, (_, reason) in FILES.items() if reason])
def test_an_unusable_file_is_rejected_with_the_reason(rows, name: str) -> None:
    content, reason = FILES[name]
    row = rows[name]
    assert set(row) == {"uri", "stage", "error", "message", "bytes", "sha256", "remedy"}
    assert (row["error"], row["stage"]) == ("AudioError", "decode")
    assert reason is not None
    assert any(text in row["message"] for text in reason.split("|")), row["message"]
    assert row["bytes"] == len(content)
    assert len(row["sha256"] or "") == (64 if content else 0)
    assert row["remedy"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("fifo.wav", ("AudioError", "decode"), "not a regular file"),
        ("dangling.wav", ("FileNotFoundError", "open"), "No such file"),
        ("itself.wav", ("OSError", "open"), "symbolic links"),
    ],
)
def test_something_that_is_no_file_is_rejected(
    rows, name: str, error: tuple[str, str], message: str
) -> None:
    assert (rows[name]["error"], rows[name]["stage"]) == error
    assert message in rows[name]["message"]


def test_equal_audio_is_kept_once(rows) -> None:
    duplicates = {name for name, row in rows.items() if row["error"] == "Duplicate"}
    assert duplicates in ({"same again.wav"}, {"same again.wav", "zz the same.flac"})
    assert "good.wav" in rows["same again.wav"]["message"]
    assert rows["same again.wav"]["stage"] == "plan"


def test_every_other_file_is_prepared_and_none_disappears(rows, prepared, folder) -> None:
    dataset, info, _ = prepared
    kept = {row["source_uri"].rpartition("/")[2] for row in recordings(dataset)}
    assert kept | set(rows) >= {name for name, (_, reason) in FILES.items() if reason is None}
    assert "\udcff\udcfe.wav" in kept
    assert {"clipped.wav", "really flac.mp3", "ünï cödé\n[1]*?.wav", "good.wav"} <= kept
    n_files = len(list(folder.iterdir())) - 2  # without the folder and the loop
    assert len(kept) + len(rows) == n_files
    assert info["sources"] == n_files
    assert info["rejected"] + info["duplicates"] == len(rows)


def test_the_sound_that_a_used_file_lacks_is_recorded_and_shown(tmp_path) -> None:
    content = bytearray(encoded(signals.tune(seconds=20, rate=RATE), "MP3", "MPEG_LAYER_III"))
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    signals.write(tmp_path / "in" / "good.wav", signals.tune(seconds=3, seed=5))
    (tmp_path / "in" / "damaged.mp3").write_bytes(content)
    (tmp_path / "in" / "truncated.wav").write_bytes(encoded(TUNE)[:100_000])
    (tmp_path / "in" / "truncated.ogg").write_bytes(encoded(TUNE, "OGG", "VORBIS")[:-100])

    def run(name: str, **settings: Any) -> dict[str, float | None]:
        prepare.run(
            sources=find_sources([str(tmp_path / "in")]),
            output=str(tmp_path / name),
            audio=AudioConfig(n_mels=32),
            settings=PrepareSettings(max_rejected_share=0.9, **settings),
        )
        rows = recordings(tmp_path / name)
        return {row["source_uri"].rpartition("/")[2]: row["lost_seconds"] for row in rows}

    assert set(run("strict", max_lost_share=0.0)) == {"good.wav"}
    lost = run("default")
    assert set(lost) == {"good.wav", "damaged.mp3"}
    assert lost["good.wav"] == 0
    assert 0.02 < (lost["damaged.mp3"] or 0) < 0.2
    message = rejected(tmp_path / "default")["truncated.wav"]["message"]
    assert "missing: about 1.87 s" in message
    lost = run("all", max_lost_share=1.0)
    assert lost["truncated.wav"] == pytest.approx(1.867, abs=0.01)
    assert lost["truncated.ogg"] is None
    card = files.read_json(str(tmp_path / "all" / contract.DATA_CARD))
    assert card["damaged"]["recordings"] == 3
    assert card["damaged"]["of_unknown_length"] == 1
    assert card["damaged"]["lost_seconds"] == pytest.approx(1.9, abs=0.2)
    shown = "\n".join(format_card(card))
    assert "damaged: 3 of the recordings, without about 1.9" in shown
    assert "of 1 of them, nobody knows how much is missing" in shown


def test_files_found_by_content_alone_do_not_fail_the_job(tmp_path) -> None:
    signals.write(tmp_path / "in" / "good.wav", signals.tune(seconds=3))
    for index in range(4):  # as a game stores its sounds, with codecs of its own
        (tmp_path / "in" / f"sound{index}.bin").write_bytes(wav(channels=0))
    found = scan_inputs([str(tmp_path / "in")])

    def run(output: str, **settings: Any) -> dict[str, Any]:
        return prepare.run(
            sources=found.sources,
            output=str(tmp_path / output),
            audio=AudioConfig(n_mels=32),
            settings=PrepareSettings(**settings),
            passed_over={".jpg": 12},
        )

    info = run("out", max_rejected_share=0.0)
    assert (info["sources"], info["rejected"]) == (5, 4)
    assert info["passed_over"] == {".jpg": 12}
    assert len(rejected(tmp_path / "out")) == 4
    (tmp_path / "in" / "sound9.wav").write_bytes(wav(channels=0))
    found = scan_inputs([str(tmp_path / "in")])
    with pytest.raises(TooManyRejectedError, match="1 of 2 files were rejected"):
        run("again")


def test_bad_files_do_not_take_long(prepared) -> None:
    assert prepared[2] < 60


def test_a_file_that_takes_too_long_is_rejected(tmp_path, monkeypatch) -> None:
    clock = types.SimpleNamespace(monotonic=itertools.count().__next__)  # each block takes 1 s
    monkeypatch.setattr(codec, "time", clock)
    signals.write(tmp_path / "in" / "good.wav", signals.tune(seconds=3))
    signals.write(tmp_path / "in" / "long.wav", signals.noise(seconds=400))
    prepare.run(
        sources=find_sources([str(tmp_path / "in")]),
        output=str(tmp_path / "out"),
        audio=AudioConfig(n_mels=32),
        settings=PrepareSettings(max_rejected_share=0.5, max_seconds_per_file=20),
    )
    assert list(rejected(tmp_path / "out")) == ["long.wav"]
    assert "too slow" in rejected(tmp_path / "out")["long.wav"]["message"]
