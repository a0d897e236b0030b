"""Google's storage hosts on loopback, for clients that cannot be given another address.

TensorFlow's file system connects to https://*.googleapis.com only. But it takes a proxy and a
certificate authority from the environment. The proxy here leads every tunnel to a TLS server, which
forwards requests to the storage emulator.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import pathlib
import socket
import ssl
import threading
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.http_servers import QuietHandler, serve

# Headers that each connection sets for itself.
_CONNECTION_HEADERS = ("host", "expect", "content-length", "transfer-encoding", "connection")
_HOSTS = ("storage.googleapis.com", "www.googleapis.com", "oauth2.googleapis.com")


@contextlib.contextmanager
def googleapis(folder: pathlib.Path, emulator: str) -> Iterator[dict[str, str]]:
    """Yields environment variables that lead TensorFlow's gs:// to an emulator.

    Args:
      folder: Folder for the certificate.
      emulator: Host and port of the emulator, separated by a colon.
    """
    certificate = _write_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serve(_Forward, emulator=emulator) as secure:
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        with serve(_Tunnel, target=secure.server_address) as proxy:
            yield {
                "https_proxy": f"http://127.0.0.1:{proxy.server_port}",
                "no_proxy": "127.0.0.1,localhost",
                "CURL_CA_BUNDLE": str(certificate),
                "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
                "NO_GCE_CHECK": "true",
            }


class _Forward(QuietHandler):
    """Forwards a request to the emulator, and its answer back."""

    protocol_version = "HTTP/1.1"
    emulator: str

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return super().read_body()
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _forward(self) -> None:
        body = self.read_body()
        if self.path.endswith("/storageLayout"):  # a request that the emulator does not know
            self.answer(200, b'{"hierarchicalNamespace": {"enabled": false}}')
            return
        if self.command == "POST" and "uploadType=media" in self.path and not body:
            body = b" "  # TensorFlow's folders are empty objects, on which the emulator fails
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _CONNECTION_HEADERS}
        connection = http.client.HTTPConnection(self.emulator, timeout=60)
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in _CONNECTION_HEADERS}
        if "Location" in kept:  # the other parts of an upload have to come through here, too
            own = f"http://{self.emulator}"
            kept["Location"] = kept["Location"].replace(own, "https://www.googleapis.com")
        self.answer(answer.status, answer.read(), kept)
        connection.close()

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _forward


class _Tunnel(QuietHandler):
    """Answers every CONNECT with a tunnel to the same server."""

    target: tuple[str, int]

    def do_CONNECT(self) -> None:
        with socket.create_connection(self.target) as far:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_copy_bytes, args=(far, self.connection), daemon=True)
            back.start()
            _copy_bytes(self.connection, far)
            back.join()


def _copy_bytes(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _write_certificate(folder: pathlib.Path) -> pathlib.Path:
    """Writes a key and a self-signed certificate for Google's hosts."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nocturne-test.invalid")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(h) for h in _HOSTS]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "googleapis.pem"
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return path
