"""Endpoints over HTTP: create the context of a request, and send the reply."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.enums import ScopeType
from litestar.response import Stream
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send, WebSocketScope

from mimic.engine.overrides import (
    BETWEEN_HEADER,
    FAULT_HEADER,
    FIRST_HEADER,
    MATCH_HEADER,
    NO_OVERRIDES,
    PACE_HEADER,
    TOOLS_HEADER,
    Overrides,
)
from mimic.errors import RequestError, StoreError
from mimic.gateway.auth import bearer
from mimic.gateway.context import Gateway, HungUp, RequestContext
from mimic.gateway.delivery import Reply, error_reply
from mimic.gateway.errors import request_error
from mimic.gateway.handle import Endpoint, handle
from mimic.server.bodies import read_body
from mimic.server.http11.asgi import RECORD, cut
from mimic.server.observability.requests import OPENAI_PREFIX, RequestRecord
from mimic.server.request_ids import CLIENT_HEADER, client_id_error
from mimic.wire.base import EVENTS, JSON

_FIELDS: Final = {
    MATCH_HEADER.encode(): "match",
    PACE_HEADER.encode(): "pace",
    FIRST_HEADER.encode(): "ttft",
    BETWEEN_HEADER.encode(): "itl",
    FAULT_HEADER.encode(): "fault",
    TOOLS_HEADER.encode(): "tools",
}
CODINGS: Final = b"content-encoding"
_CHOICES: Final = frozenset(_FIELDS)
_CONTENT_TYPES: Final = {JSON: JSON.encode(), EVENTS: f"{EVENTS}; charset=utf-8".encode()}


class HttpRequest:
    """A request over HTTP/1.1: the headers for an endpoint, its body, and its client.

    Of several keys the last counts, of several choices by header the first.
    """

    __slots__ = ("_bad_id", "_codings", "_length", "_receive", "_scope", "authorization", "overrides")

    def __init__(self, scope: HTTPScope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        headers = dict(scope["headers"])  # the last of each name; some clients send twenty headers
        key = headers.get(b"authorization")
        self.authorization = key.decode("latin-1") if key else ""
        self._length = headers.get(b"content-length", b"0")
        self._codings = _codings(scope) if CODINGS in headers else b""
        self._bad_id = _bad_id(scope) if CLIENT_HEADER in headers else None
        self.overrides = NO_OVERRIDES if _CHOICES.isdisjoint(headers) else overrides_in(scope)

    def read(self) -> Awaitable[bytes | RequestError]:
        """Return the body, or the error to send instead."""
        body = read_body(self._receive, self._length, self._codings)
        return body if self._bad_id is None else _read_then_refuse(body, self._bad_id)

    async def gone(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def headers(self) -> Iterable[tuple[bytes, bytes]]:
        """The headers of the request."""
        return self._scope["headers"]

    async def drain(self) -> None:
        """Read and discard the rest of the body."""
        while (await self._receive()).get("more_body"):
            pass

    async def hang_up(self) -> None:
        """Cut the connection after all written data are sent; return when it is cut."""
        await cut(self._scope, self._receive)


def overrides_in(scope: HTTPScope | WebSocketScope) -> Overrides:
    """Return the choices in the headers of a request."""
    chosen: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name in _FIELDS:
            chosen.setdefault(_FIELDS[name], value.decode("latin-1"))
    return msgspec.convert(chosen, Overrides) if chosen else NO_OVERRIDES


def _codings(scope: HTTPScope) -> bytes:
    """Return the codings of a body. Several headers count as one list (RFC 9110, 5.3)."""
    return b",".join([value for name, value in scope["headers"] if name == CODINGS])


def _bad_id(scope: HTTPScope) -> RequestError | None:
    """Return the error for an invalid id of the client, on paths of OpenAI's API only."""
    return client_id_error(scope) if scope["path"].startswith(OPENAI_PREFIX) else None


async def _read_then_refuse(body: Awaitable[bytes | RequestError], error: RequestError) -> RequestError:
    """Read the body, then return the error."""
    await body
    return error


async def serve(endpoint: Endpoint, gateway: Gateway, scope: Any, receive: Receive, send: Send) -> None:
    """Answer one request to an endpoint. Its key is checked before its body is read."""
    request = HttpRequest(scope, receive)
    record: RequestRecord = scope["state"][RECORD]
    key = bearer(request.authorization) or "" if request.authorization else ""
    record.context = context = RequestContext(gateway, request, record, key, scope["query_string"], request.overrides)
    async with context:
        try:
            if gateway.keys.are_required:
                await gateway.keys.check(request.authorization, scope["client"][0] if scope.get("client") else None)
            reply = await handle(endpoint, request.read, context)
        except HungUp:
            return
        except (RequestError, StoreError) as exc:  # from the key, or from the ledger that counts wrong keys
            reply = error_reply(endpoint.wire, request_error(exc, record.request_id, endpoint.path))
        await send_reply(reply, context, scope, receive, send)


async def send_reply(reply: Reply, context: RequestContext | None, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a reply. A stream ends early if the client leaves."""
    if not isinstance(reply.body, bytes):
        body = context.keep_body(reply.body) if context else reply.body
        stream = Stream(body, media_type=reply.media_type, headers=dict(reply.headers), status_code=reply.status)
        await stream.to_asgi_response(None, Request(scope))(scope, receive, send)
        return
    headers = [(name.encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
    headers.append((b"content-type", _CONTENT_TYPES.get(reply.media_type) or reply.media_type.encode()))
    if reply.media_type == JSON:  # streams have no length, even if sent in one piece
        headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if context:
        context.end()
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


def answer_by(endpoint: Endpoint | Callable[[Scope], Endpoint], gateway: Gateway) -> Callable[[ASGIApp], ASGIApp]:
    """Return a middleware that answers instead of a route's handler, which exists for the OpenAPI document only.

    An endpoint may depend on the scope, for example on the parameters of its path.
    """

    def middleware(app: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == ScopeType.HTTP and scope["method"] == "POST":
                found = endpoint if isinstance(endpoint, Endpoint) else endpoint(scope)
                await serve(found, gateway, scope, receive, send)
            else:  # OPTIONS, which Litestar answers
                await app(scope, receive, send)

        return answer

    return middleware
