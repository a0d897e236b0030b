"""A storage server on loopback, and credentials that only this server accepts."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import _regional_access_boundary_utils

from tests.support.http_servers import QuietHandler, serve

# Marks of tests with Google's clients, which keep connections open until they are collected.
CLIENTS = [
    pytest.mark.slow,
    *(
        pytest.mark.filterwarnings(f"ignore::{name}")
        for name in (
            "ResourceWarning",
            "pytest.PytestUnraisableExceptionWarning",
            "DeprecationWarning",
            "FutureWarning",
            "UserWarning",
        )
    ),
]


class _Tokens(QuietHandler):
    """Gives an access token to everybody."""

    def do_POST(self) -> None:
        self.read_body()
        token = {"access_token": "none", "expires_in": 3600, "token_type": "Bearer"}
        self.answer(200, json.dumps(token).encode(), {"Content-Type": "application/json"})


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _write_account(path: pathlib.Path, token_uri: str) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "project_id": "nocturne-test",
        "private_key_id": "0",
        "private_key": pem.decode(),
        "client_email": "test@nocturne-test.invalid",
        "client_id": "0",
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(account))


@contextlib.contextmanager
def emulator(folder: pathlib.Path, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serves a bucket, sets the environment variables that lead clients to it, and yields its URL.

    Args:
      folder: Folder for the credentials.
      patch: Sets the environment variables.
    """
    from gcp_storage_emulator.server import create_server

    with serve(_Tokens) as tokens:
        _write_account(folder / "account.json", f"http://127.0.0.1:{tokens.server_port}/token")
        port = free_port()
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(folder / "account.json"))
        patch.setenv("GOOGLE_CLOUD_PROJECT", "nocturne-test")
        # In the background, google-auth asks Google where an account may be used. No request is to
        # leave this machine.
        patch.setattr(_regional_access_boundary_utils, "_get_domain", lambda: "127.0.0.1:9")
        server = create_server("127.0.0.1", port, in_memory=True, default_bucket="songs")
        server.start()
        try:
            yield "gs://songs"
        finally:
            server.stop()
