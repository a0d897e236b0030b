"""A proxy in front of the storage emulator: the preconditions it ignores, and faults on request."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator

_OWN = ("host", "transfer-encoding", "connection", "content-length")


@dataclasses.dataclass
class Faults:
    """What goes wrong, in order, and what was asked for.

    Attributes:
      address: of the proxy, host:port.
      emulator: host:port of what is behind it; may be moved.
      planned: (method, part of the path, fault) of the next ones. A fault is a status code, `reset`
        (no answer, nothing written), `lost` (written, no answer) or `slow` (a second later).
      requests: (method, path) of all that came.
      written: how often each object was created behind the proxy.
    """

    address: str
    emulator: str
    planned: list[tuple[str, str, int | str]] = dataclasses.field(default_factory=list)
    requests: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    written: dict[str, int] = dataclasses.field(default_factory=dict)

    def due(self, method: str, path: str) -> int | str | None:
        """Returns the next fault if it is one of this request, and takes it off the plan."""
        if self.planned and self.planned[0][0] == method and self.planned[0][1] in path:
            return self.planned.pop(0)[2]
        return None


@contextlib.contextmanager
def faulty_storage(emulator: str) -> Iterator[Faults]:
    """Serves the proxy on loopback; yields its plan."""
    faults = Faults(address="", emulator=emulator)
    handler = type("Handler", (_Proxy,), {"faults": faults})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    faults.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield faults
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Proxy(http.server.BaseHTTPRequestHandler):
    faults: Faults
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.faults.requests.append((self.command, self.path))
        fault = self.faults.due(self.command, self.path)
        if fault == "slow":
            time.sleep(1)
        if fault == "reset":
            self.close_connection = True
            return
        if isinstance(fault, int):
            self._answer(fault, [], json.dumps({"error": {"code": fault}}).encode())
            return
        name = self._new_object(body)
        if name and self._exists(name):
            self._answer(412, [], b'{"error": {"code": 412}}')
            return
        status, headers, content = self._ask(self.command, self.path, body)
        if name and status == 200:
            self.faults.written[name] = self.faults.written.get(name, 0) + 1
        if fault == "lost":
            self.close_connection = True
            return
        self._answer(status, headers, content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _handle

    def _new_object(self, body: bytes) -> str:
        """Returns the name of an object that is to be created only where there is none."""
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        if self.command != "POST" or query.get("ifGenerationMatch") != ["0"]:
            return ""
        if "name" in query:
            return query["name"][0]
        found = body[body.find(b"{") : body.find(b"}") + 1]
        return str(json.loads(found)["name"])

    def _exists(self, name: str) -> bool:
        bucket = self.path.split("/b/")[1].split("/")[0]
        quoted = urllib.parse.quote(name, safe="")
        return self._ask("GET", f"/storage/v1/b/{bucket}/o/{quoted}", b"")[0] == 200

    def _ask(self, method: str, path: str, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _OWN}
        if method != self.command:
            headers = {}
        try:
            connection = http.client.HTTPConnection(self.faults.emulator, timeout=30)
            connection.request(method, path, body=body or None, headers=headers)
            with connection.getresponse() as answer:
                return answer.status, answer.getheaders(), answer.read()
        except ConnectionError:
            return 503, [], b""
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in (*_OWN, "server", "date"):
                # A resumable upload goes on where the emulator says, which is to be here.
                self.send_header(name, value.replace(self.faults.emulator, self.faults.address))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass
