"""A server with as much of MongoDB's wire protocol as a driver needs to see that it cannot be used.

It stands for servers that tests do not have: one that is too old, or a member of a replica set with unreachable names.
https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
"""

import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import bson

_REPLY: Final = 1
_QUERY: Final = 2004
_MESSAGE: Final = 2013
_HEADER: Final = struct.Struct("<iiii")
LIMITS: Final = {
    "ok": 1,
    "ismaster": True,
    "isWritablePrimary": True,
    "minWireVersion": 0,
    "maxWireVersion": 17,
    "maxBsonObjectSize": 16 * 1024 * 1024,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
}
"""The limits that a single server of MongoDB 6.0 reports."""


@contextmanager
def fake_mongod(hello: Mapping[str, Any], **replies: Mapping[str, Any]) -> Iterator[int]:
    """The port of a server that answers ``hello`` with this document, and commands by their names."""

    class Caller(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while header := self._read(_HEADER.size):
                length, number, _, kind = _HEADER.unpack(header)
                body = self._read(length - _HEADER.size)
                if kind == _QUERY:
                    self._send(number, _REPLY, struct.pack("<iqii", 0, 0, 0, 1), {**LIMITS, **hello})
                else:
                    command = next(iter(bson.decode(body[5 : 5 + struct.unpack_from("<i", body, 5)[0]])))
                    answer = replies.get(command, {**LIMITS, **hello})
                    self._send(number, _MESSAGE, b"\0\0\0\0\0", {"ok": 1, **answer})

        def _read(self, count: int) -> bytes:
            found = b""
            while len(found) < count and (piece := self.request.recv(count - len(found))):
                found += piece
            return found

        def _send(self, number: int, kind: int, before: bytes, document: Mapping[str, Any]) -> None:
            body = before + bson.encode(document)
            self.request.sendall(_HEADER.pack(_HEADER.size + len(body), 1, number, kind) + body)

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Listener(("127.0.0.1", 0), Caller) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
