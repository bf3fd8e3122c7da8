"""Endpoints over HTTP: a request becomes a context, and a reply is sent."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.enums import ScopeType
from litestar.response import Stream
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from mimic.engine.overrides import (
    BETWEEN_HEADER,
    FAULT_HEADER,
    FIRST_HEADER,
    MATCH_HEADER,
    NO_OVERRIDES,
    PACE_HEADER,
    Overrides,
)
from mimic.errors import RequestError, StoreError
from mimic.gateway.auth import bearer
from mimic.gateway.context import Gateway, HungUp, RequestContext
from mimic.gateway.delivery import Reply, failed
from mimic.gateway.errors import request_error
from mimic.gateway.handle import Endpoint, handle
from mimic.server.bodies import read_body
from mimic.server.http11.asgi import cut
from mimic.server.observability.requests import OPENAI_PREFIX, record_of
from mimic.server.request_ids import CLIENT_HEADER, invalid_client_id, is_allowed
from mimic.wire.base import EVENTS, JSON

OWN_HEADERS: Final = b"x-mimic-"
_FIELDS: Final = {
    MATCH_HEADER.encode(): "match",
    PACE_HEADER.encode(): "pace",
    FIRST_HEADER.encode(): "ttft",
    BETWEEN_HEADER.encode(): "itl",
    FAULT_HEADER.encode(): "fault",
}
_CONTENT_TYPES: Final = {JSON: JSON.encode(), EVENTS: f"{EVENTS}; charset=utf-8".encode()}


class HttpClient:
    """The client of a request over HTTP/1.1."""

    __slots__ = ("_receive", "_scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive

    async def gone(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def drain(self) -> None:
        """Read the rest of the body, and throw it away."""
        while (await self._receive()).get("more_body"):
            pass

    async def hang_up(self) -> None:
        """Cut the connection as soon as what was written is sent; return when it is."""
        await cut(self._scope, self._receive)


class _Headers:
    """The headers of a request that matter to an endpoint. Of several keys the last counts, of choices the first."""

    __slots__ = ("authorization", "codings", "has_bad_id", "length", "overrides")

    def __init__(self, scope: HTTPScope) -> None:
        self.authorization = ""
        self.length, self.codings = b"0", b""
        self.has_bad_id = False
        chosen: dict[str, str] = {}
        for name, value in scope["headers"]:
            if name == b"content-length":
                self.length = value
            elif name == b"authorization":
                self.authorization = value.decode("latin-1")
            elif name == b"content-encoding":
                self.codings = b"%s,%s" % (self.codings, value)
            elif name == CLIENT_HEADER:
                self.has_bad_id = self.has_bad_id or not is_allowed(value)
            elif name.startswith(OWN_HEADERS) and (field := _FIELDS.get(name)):
                chosen.setdefault(field, value.decode("latin-1"))
        self.overrides = msgspec.convert(chosen, Overrides) if chosen else NO_OVERRIDES


async def serve(endpoint: Endpoint, gateway: Gateway, scope: Any, receive: Receive, send: Send) -> None:
    """Answer one request to an endpoint; its key is checked before its body is read."""
    headers, record = _Headers(scope), record_of(scope)
    key = bearer(headers.authorization) or "" if headers.authorization else ""
    client = HttpClient(scope, receive)

    async def read() -> bytes | RequestError:
        body = await read_body(receive, headers.length, headers.codings)
        return invalid_client_id() if headers.has_bad_id and endpoint.path.startswith(OPENAI_PREFIX) else body

    record.context = context = RequestContext(gateway, client, record, key, scope["query_string"], headers.overrides)
    async with context:
        try:
            if gateway.keys.are_asked_for:
                await gateway.keys.check(headers.authorization, scope["client"][0] if scope.get("client") else None)
            reply = await handle(endpoint, read, context)
        except HungUp:
            return
        except (RequestError, StoreError) as exc:  # of the key, or of the ledger that counts wrong ones
            reply = failed(endpoint.wire, request_error(exc, record.request_id, endpoint.path))
        await send_reply(reply, context, scope, receive, send)


async def send_reply(reply: Reply, context: RequestContext | None, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a reply. One that comes piece by piece ends where the client goes away."""
    if not isinstance(reply.body, bytes):
        body = context.sends(reply.body) if context else reply.body
        stream = Stream(body, media_type=reply.media_type, headers=dict(reply.headers), status_code=reply.status)
        await stream.to_asgi_response(None, Request(scope))(scope, receive, send)
        return
    headers = [(name.encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
    headers.append((b"content-type", _CONTENT_TYPES.get(reply.media_type) or reply.media_type.encode()))
    if reply.media_type == JSON:  # a stream does not tell how long it is, not even one that is sent at once
        headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if context:
        context.end()
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


def answered_by(endpoint: Endpoint, gateway: Gateway) -> Callable[[ASGIApp], ASGIApp]:
    """A middleware that answers in the place of a route's handler, which is there for the OpenAPI document."""

    def middleware(app: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == ScopeType.HTTP and scope["method"] == "POST":
                await serve(endpoint, gateway, scope, receive, send)
            else:  # OPTIONS, which Litestar answers
                await app(scope, receive, send)

        return answer

    return middleware
