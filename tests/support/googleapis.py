"""Google's storage hosts on loopback, for clients that know no other address.

TensorFlow's file system goes to https://*.googleapis.com and nowhere else. It does take a proxy and
a certificate authority from the environment: the proxy here leads every tunnel to a TLS server that
hands requests on to the storage emulator.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import http.server
import pathlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

# Headers that each connection has of its own.
_OWN = ("host", "expect", "content-length", "transfer-encoding", "connection")
_HOSTS = ("storage.googleapis.com", "www.googleapis.com", "oauth2.googleapis.com")


@contextlib.contextmanager
def googleapis(folder: pathlib.Path, emulator: str) -> Iterator[dict[str, str]]:
    """Yields environment variables that lead TensorFlow's gs:// to an emulator.

    Args:
      folder: for the certificate.
      emulator: its host:port.
    """
    certificate = _certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with _server(_Forward, emulator=emulator) as secure:
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        with _server(_Tunnel, target=secure.server_address) as proxy:
            port = proxy.server_address[1]
            yield {
                "https_proxy": f"http://127.0.0.1:{port}",
                "no_proxy": "127.0.0.1,localhost",
                "CURL_CA_BUNDLE": str(certificate),
                "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
                "NO_GCE_CHECK": "true",
            }


@contextlib.contextmanager
def _server(handler: type[socketserver.BaseRequestHandler], **attributes: Any) -> Iterator[Any]:
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (handler,), attributes)
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Forward(http.server.BaseHTTPRequestHandler):
    """Hands a request on to the emulator, and its answer back."""

    protocol_version = "HTTP/1.1"
    emulator: str

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _forward(self) -> None:
        body = self._body()
        if self.path.endswith("/storageLayout"):  # which the emulator does not know
            self._answer(200, {}, b'{"hierarchicalNamespace": {"enabled": false}}')
            return
        if self.command == "POST" and "uploadType=media" in self.path and not body:
            body = b" "  # the emulator fails on empty objects, which TensorFlow's folders are
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _OWN}
        connection = http.client.HTTPConnection(self.emulator, timeout=60)
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in _OWN}
        if "Location" in kept:  # of an upload in parts, which is to come through here as well
            own = f"http://{self.emulator}"
            kept["Location"] = kept["Location"].replace(own, "https://www.googleapis.com")
        self._answer(answer.status, kept, answer.read())
        connection.close()

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _forward

    def log_message(self, *args: object) -> None:
        pass


class _Tunnel(http.server.BaseHTTPRequestHandler):
    """Answers CONNECT with a tunnel to one and the same server."""

    target: tuple[str, int]

    def do_CONNECT(self) -> None:
        with socket.create_connection(self.target) as far:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(far, self.connection), daemon=True)
            back.start()
            _pump(self.connection, far)
            back.join()

    def log_message(self, *args: object) -> None:
        pass


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _certificate(folder: pathlib.Path) -> pathlib.Path:
    """Writes a key and a certificate of its own for Google's hosts."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nocturne-test.invalid")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
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
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return path
