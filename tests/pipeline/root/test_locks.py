"""ML Metadata's settings, locks and quoting, on real servers where these are installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from audio.errors import BusyError, UnwritableError, UsageError
from pipeline.config.load import load_config
from pipeline.config.sections import MetadataSettings
from pipeline.root import locks
from pipeline.root.locks import server_config, server_lock
from pipeline.root.paths import Layout
from tests.support import databases


@pytest.fixture(scope="module")
def server() -> Iterator[databases.Server]:
    with databases.serving() as found:
        yield found


@pytest.fixture
def settings(server, monkeypatch) -> MetadataSettings:
    monkeypatch.setenv(locks.PASSWORD, databases.PASSWORD)
    return load_config(None, server.settings()).metadata


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("kind=oracle", "metadata.kind: wanted sqlite or mysql, got 'oracle'"),
        ("host='db.invalid password=x'", "metadata.host: wanted a host's name"),
        ("user='a b'", "metadata.user: wanted letters"),
        ("database='x\"; DROP DATABASE y'", "metadata.database: wanted letters"),
        ("port=0", "metadata.port: wanted 1 to 65535, got 0"),
        ("path=gs://bucket/metadata.sqlite", "metadata.path: wanted a file on a disk"),
        ("password=secret", "unknown key metadata.password"),
    ],
)
def test_what_is_no_setting_is_refused(override, said) -> None:
    with pytest.raises(UsageError, match=said):
        load_config(None, [f"metadata.{override}"])


def test_a_root_in_a_bucket_needs_a_store_elsewhere(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"SQLite file cannot be in a bucket. Set metadata.path"):
        Layout.at("gs://bucket/root")
    file = MetadataSettings(path=str(tmp_path / "m.sqlite"))
    assert Layout.at("gs://bucket/root/", file).metadata == str(tmp_path / "m.sqlite")
    team = MetadataSettings(kind="mysql", host="db", user="team")
    assert Layout.at("gs://bucket/root", team).metadata == "mysql://team@db:3306/nocturne"
    with pytest.raises(UsageError, match="wanted a folder or gs://BUCKET/PREFIX"):
        Layout.at("s3://bucket/root", team)


def test_a_password_may_be_in_a_file(tmp_path, monkeypatch) -> None:
    (tmp_path / "secret").write_text("it's \\ \n")
    monkeypatch.setenv(locks.PASSWORD_FILE, str(tmp_path / "secret"))
    assert server_config(MetadataSettings(kind="mysql")).mysql.password == "it's \\ "
    monkeypatch.setenv(locks.PASSWORD_FILE, str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"PASSWORD_FILE: .*none: No such file"):
        server_config(MetadataSettings(kind="mysql"))


@pytest.mark.slow
def test_a_lock_is_one_process_s_until_it_dies(settings) -> None:
    holds = f"""
from pipeline.config.sections import MetadataSettings
from pipeline.root.locks import server_lock
with server_lock({settings!r}, "Trainer"):
    print("held", flush=True)
    input()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(BusyError, match="it runs"),
            server_lock(settings, "Trainer", "it runs"),
        ):
            pass
        with server_lock(settings, "Evaluator", "another lock is free"):
            pass
        other.kill()
    with server_lock(settings, "Trainer"):  # waits until the server has noticed
        pass


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_any_text_comes_back_as_it_was_put(settings, server, tmp_path) -> None:
    from ml_metadata.proto import metadata_store_pb2

    from pipeline.root.metadata_store import SharedMetadata

    texts = ["it's", "\\", '"{\\"a\\": null}"', "\\'", "a\n$1 {}", "♪", "",
             "'); DROP TABLE event; -- \\", "); DELETE FROM execution; -- \\"]  # fmt: skip
    with SharedMetadata(Layout.at(str(tmp_path), settings)) as handle:
        kind = handle.store.put_execution_type(metadata_store_pb2.ExecutionType(name="text"))
        for text in texts:
            execution = metadata_store_pb2.Execution(type_id=kind)
            execution.custom_properties["text"].string_value = text
            execution.custom_properties[f"key {text}"].int_value = 1
            handle.store.put_executions([execution])
    with SharedMetadata(Layout.at(str(tmp_path), settings)) as handle:
        found = handle.store.get_executions()
        assert [one.custom_properties["text"].string_value for one in found] == texts
        assert [f"key {text}" in one.custom_properties for one, text in zip(
            found, texts, strict=True)] == [True] * len(texts)  # fmt: skip
    assert server.sql("SELECT COUNT(*) FROM Event") == "0"


@pytest.mark.slow
def test_a_server_that_is_away_is_waited_for_and_then_said_plainly(monkeypatch) -> None:
    monkeypatch.setattr(locks, "_PATIENCE_SECONDS", 0.0)
    with (
        pytest.raises(UnwritableError, match=r"127.0.0.1:9/nocturne: no connection for 0 s"),
        server_lock(MetadataSettings(kind="mysql", port=9), "any"),
    ):
        pass
