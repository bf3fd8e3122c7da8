"""Requests for another protocol (``Upgrade``), and how they are read.

The upgrade is ignored, and the request is answered in HTTP/1.1 (RFC 9110, 7.8).
"""

from collections.abc import Callable, Iterable
from typing import Final

import httptools

Headers = Iterable[tuple[bytes, bytes]]

_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


def framing_of(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Headers that say where the body ends; none where there is no body."""
    return [header for header in headers if header[0] in _FRAMING]


class FinalBody:
    """Reader of one body whose head another parser has read. It is the last of its connection.

    httptools skips the body of a request with an ``Upgrade``, as if it were of the other protocol. Java's client sends
    such requests.
    """

    __slots__ = ("_on_body", "_on_complete", "_parser", "is_complete")

    def __init__(self, framing: Headers, on_body: Callable[[bytes], None], on_complete: Callable[[], None]) -> None:
        self._on_body = on_body
        self._on_complete = on_complete
        self.is_complete = False
        self._parser = httptools.HttpRequestParser(self)
        head = b"".join(b"%s: %s\r\n" % header for header in framing)
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % head)

    def feed(self, data: bytes) -> None:
        """Read on. What comes behind the body does not count. Raises httptools.HttpParserError."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.is_complete:
                raise

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body; called by the parser."""
        if not self.is_complete:
            self._on_body(body)

    def on_message_complete(self) -> None:
        """Pass on that the body has ended; called by the parser."""
        if not self.is_complete:
            self.is_complete = True
            self._on_complete()
