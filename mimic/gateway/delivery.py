"""Answers that are ready to be sent, whoever sends them: the framework, or what answers before it."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Literal

import msgspec
from litestar import Request, Response
from litestar.response import Stream
from litestar.types import Receive, Scope, Send

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"

_CONTENT_TYPES: Final = {JSON: JSON.encode(), EVENTS: f"{EVENTS}; charset=utf-8".encode()}


class Reply(msgspec.Struct, frozen=True):
    """The body of a 200, whole or piece by piece, with its media type and other headers."""

    body: bytes | AsyncIterator[bytes]
    headers: Mapping[str, str]
    media_type: Literal["application/json", "text/event-stream"] = JSON

    def response(self) -> Response[Any]:
        """For the framework to send."""
        if isinstance(self.body, bytes):
            return Response(self.body, media_type=self.media_type, headers=self.headers)
        return Stream(self.body, media_type=self.media_type, headers=self.headers)

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. What comes piece by piece ends where the client goes away."""
        if not isinstance(self.body, bytes):
            await self.response().to_asgi_response(None, Request(scope))(scope, receive, send)
            return
        headers = [(name.encode(), value.encode("latin-1")) for name, value in self.headers.items()]
        headers.append((b"content-type", _CONTENT_TYPES[self.media_type]))
        if self.media_type == JSON:  # a stream does not tell how long it is, not even one that is sent at once
            headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})
