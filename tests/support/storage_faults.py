"""A proxy in front of the storage emulator: checks preconditions, and causes faults on request."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import time
import urllib.parse
from collections.abc import Iterator

from tests.support.http_servers import QuietHandler, serve

# Headers that each connection sets for itself, and those that the server of the proxy adds.
_OWN_HEADERS = (
    "host", "transfer-encoding", "connection", "content-length", "server", "date",
)  # fmt: skip


@dataclasses.dataclass
class Faults:
    """The faults that a proxy causes, and the requests that it received.

    Attributes:
      address: Host and port of the proxy.
      emulator: Host and port of the emulator behind it; may be changed.
      planned: Next faults, in order: a method, a part of the path, and a fault. A fault is a status
        code, `reset` (no answer, nothing is written), `lost` (written, but no answer) or `slow`
        (one second late).
      requests: Method and path of every request.
      written: Number of times that each object was created.
    """

    address: str
    emulator: str
    planned: list[tuple[str, str, int | str]] = dataclasses.field(default_factory=list)
    requests: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    written: dict[str, int] = dataclasses.field(default_factory=dict)

    def take(self, method: str, path: str) -> int | str | None:
        """Returns the next fault, and removes it, if it is one for this request."""
        if self.planned and self.planned[0][0] == method and self.planned[0][1] in path:
            return self.planned.pop(0)[2]
        return None


@contextlib.contextmanager
def faulty_storage(emulator: str) -> Iterator[Faults]:
    """Serves the proxy on loopback, and yields its faults."""
    faults = Faults(address="", emulator=emulator)
    with serve(_Proxy, faults=faults) as server:
        faults.address = f"127.0.0.1:{server.server_port}"
        yield faults


class _Proxy(QuietHandler):
    faults: Faults
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.read_body()
        self.faults.requests.append((self.command, self.path))
        fault = self.faults.take(self.command, self.path)
        if fault == "slow":
            time.sleep(1)
        if fault == "reset":
            self.close_connection = True
            return
        if isinstance(fault, int):
            self.answer(fault, json.dumps({"error": {"code": fault}}).encode())
            return
        name = self._new_object(body)
        if name and self._exists(name):
            self.answer(412, b'{"error": {"code": 412}}')
            return
        status, headers, content = self._ask(self.command, self.path, body)
        if name and status == 200:
            self.faults.written[name] = self.faults.written.get(name, 0) + 1
        if fault == "lost":
            self.close_connection = True
            return
        self.answer(status, content, headers)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _handle

    def _new_object(self, body: bytes) -> str:
        """Returns the name of an object that must not exist yet; empty for other requests."""
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        if self.command != "POST" or query.get("ifGenerationMatch") != ["0"]:
            return ""
        if "name" in query:
            return query["name"][0]
        metadata = body[body.find(b"{") : body.find(b"}") + 1]
        return str(json.loads(metadata)["name"])

    def _exists(self, name: str) -> bool:
        bucket = self.path.split("/b/")[1].split("/")[0]
        quoted = urllib.parse.quote(name, safe="")
        return self._ask("GET", f"/storage/v1/b/{bucket}/o/{quoted}", b"")[0] == 200

    def _ask(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Sends a request to the emulator; returns status, headers and content."""
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _OWN_HEADERS}
        if method != self.command:
            headers = {}
        try:
            connection = http.client.HTTPConnection(self.faults.emulator, timeout=30)
            connection.request(method, path, body=body or None, headers=headers)
            with connection.getresponse() as answer:
                # The address of a resumable upload has to be that of the proxy.
                emulator, address = self.faults.emulator, self.faults.address
                kept = {
                    name: value.replace(emulator, address)
                    for name, value in answer.getheaders()
                    if name.lower() not in _OWN_HEADERS
                }
                return answer.status, kept, answer.read()
        except ConnectionError:
            return 503, {}, b""
        finally:
            connection.close()
