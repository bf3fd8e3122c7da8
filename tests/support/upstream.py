"""An upstream that sends given bytes, for tests of rare answers: cuts, redirects, other headers."""

import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class ScriptedUpstream(socketserver.ThreadingTCPServer):
    """Sends the pieces of ``script`` to every request, and then closes the connection. Keeps the requests."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, script: Sequence[bytes] = ()) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.requests: list[bytes] = []
        self.go_on = threading.Event()
        """Waited for before each piece but the first one, unless it is set."""
        self.go_on.set()

    @property
    def url(self) -> str:
        """The URL for MIMIC_UPSTREAM."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(socketserver.BaseRequestHandler):
    server: ScriptedUpstream

    def handle(self) -> None:
        """Read one request, and answer it by the script."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.request.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        while len(body) < length:
            body += self.request.recv(65536)
        self.server.requests.append(head + b"\r\n\r\n" + body)
        for number, piece in enumerate(self.server.script):
            if number:
                self.server.go_on.wait(30)
            self.request.sendall(piece)


@contextmanager
def scripted(script: Sequence[bytes] = ()) -> Iterator[ScriptedUpstream]:
    """A scripted upstream that runs meanwhile."""
    with ScriptedUpstream(script) as upstream:
        thread = threading.Thread(target=upstream.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield upstream
        finally:
            upstream.go_on.set()
            upstream.shutdown()
            thread.join()


def chunked(body: bytes) -> bytes:
    """A body in the chunked coding, as one chunk, with its end."""
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def answer(body: bytes, status: str = "200 OK", headers: str = "content-type: application/json\r\n") -> bytes:
    """A whole answer over HTTP/1.1."""
    return f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body
