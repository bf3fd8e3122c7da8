"""The WebSocket mode of ``/v1/responses``: each message of a client is a request, and each event is a message."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec
from litestar.types import Receive, Send, WebSocketScope

from mimic.errors import RequestError
from mimic.gateway.auth import bearer
from mimic.gateway.context import Gateway, HungUp, RequestContext
from mimic.gateway.delivery import Reply
from mimic.gateway.handle import Endpoint, handle
from mimic.server.bodies import MAX_BYTES
from mimic.server.endpoints import overrides_in
from mimic.server.http11.asgi import CUT
from mimic.server.observability.requests import RequestRecord, record_of
from mimic.stored.connection import ConnectionResponses
from mimic.stored.responses import ResponseStore
from mimic.wire.base import EVENTS
from mimic.wire.openai.responses.socket import (
    LAST_EVENTS,
    STEER,
    Envelope,
    EventMessages,
    envelope_of,
    error_message,
    is_stream_id,
    steering_failed,
)

BETA: Final = b"openai-beta"
"""The header with which clients ask for the WebSocket mode."""
MAX_ACTIVE: Final = 16
"""Responses that a connection makes at a time; other requests wait."""
MAX_LANES: Final = 32
"""Named lanes of a connection."""
MAX_WAITING: Final = 64
"""Requests of a connection that wait. Their messages have at most ``MAX_BYTES`` together."""


class LaneRequest(msgspec.Struct, frozen=True):
    """A request of a connection. ``body`` is the message, or the error that refuses it.

    ``lane`` is the name of the lane; None for the lane of requests without a name.
    """

    body: bytes | RequestError
    lane: str | None = None
    previous: object = None

    @property
    def size(self) -> int:
        """The bytes of the message."""
        return len(self.body) if isinstance(self.body, bytes) else 0

    async def read(self) -> bytes | RequestError:
        """Return the message, or the error that refuses it."""
        return self.body


class ResponsesWebSocket:
    """A connection. Requests of one lane are answered one after the other, and lanes at the same time.

    The connection is the client of each of its requests: all of them end when it is closed.
    """

    def __init__(
        self,
        scope: WebSocketScope,
        receive: Receive,
        send: Send,
        gateway: Gateway,
        endpoint: Endpoint,
        recent: ConnectionResponses,
    ) -> None:
        self._scope: Any = scope
        self._receive = receive
        self._send = send
        self._gateway = gateway
        self._endpoint = endpoint
        self._recent = recent
        keys = [value for name, value in scope["headers"] if name == b"authorization"]
        self._key = bearer(keys[-1].decode("latin-1")) or "" if keys else ""
        self._overrides = overrides_in(scope)
        self._lanes: dict[str | None, deque[LaneRequest]] = {}
        self._active = asyncio.Semaphore(MAX_ACTIVE)
        self._has_left = asyncio.Event()

    async def serve(self) -> None:
        """Answer until the client leaves."""
        await self._receive()  # the handshake
        await self._send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        async with asyncio.TaskGroup() as group:
            workers = await self._read_all(group)
            self._has_left.set()
            for worker in workers:
                worker.cancel()

    async def _read_all(self, group: asyncio.TaskGroup) -> set[asyncio.Task[None]]:
        """Put each message on its lane. Returns the tasks that work on lanes when the client has left."""
        workers: set[asyncio.Task[None]] = set()
        while (event := await self._receive())["type"] == "websocket.receive":
            text: str | None = event.get("text")
            request = self._request_of(text)
            if isinstance(request, str):
                with suppress(HungUp):
                    await self._send_text(request)
            elif isinstance(request.body, RequestError):
                await self._answer(request)
            else:
                lane = self._lanes.setdefault(request.lane, deque())
                lane.append(request)
                if len(lane) == 1:
                    worker = group.create_task(self._work(lane))
                    workers.add(worker)
                    worker.add_done_callback(workers.discard)
        return workers

    def _request_of(self, text: str | None) -> LaneRequest | str:
        """Return the request of a message, or the answer to a message that is none."""
        if text is None:
            return LaneRequest(
                RequestError(400, "Binary messages are not supported: send JSON as text.", code="invalid_message")
            )
        body = text.encode()
        envelope = envelope_of(body)
        if envelope.type == STEER:
            return steering_failed(envelope)
        if error := self._lane_error(envelope):
            return LaneRequest(error)
        if error := self._queue_error(len(body)):
            return LaneRequest(error, envelope.stream_id)
        return LaneRequest(body, envelope.stream_id, envelope.previous_response_id)

    def _lane_error(self, envelope: Envelope) -> RequestError | None:
        lane = envelope.stream_id
        if lane is None:
            return None
        if not is_stream_id(lane):
            text = "Invalid 'stream_id': expected 1 to 256 letters, digits, underscores, hyphens or periods."
            return RequestError(400, text, param="stream_id", code="invalid_stream_id")
        if lane not in self._lanes and len(self._lanes.keys() - {None}) >= MAX_LANES:
            text = f"A connection has at most {MAX_LANES} different values of 'stream_id'."
            return RequestError(400, text, param="stream_id", code="websocket_stream_limit_reached")
        return None

    def _queue_error(self, size: int) -> RequestError | None:
        waiting = [request.size for lane in self._lanes.values() for request in lane]
        if len(waiting) < MAX_WAITING + MAX_ACTIVE and sum(waiting) + size <= MAX_BYTES:
            return None
        text = f"Too many requests of this connection wait: at most {MAX_WAITING}, with {MAX_BYTES:,} bytes."
        return RequestError(429, text, code="websocket_queue_full")

    async def _work(self, lane: deque[LaneRequest]) -> None:
        """Answer the requests of a lane until none waits."""
        while lane:
            async with self._active:
                await self._answer(lane[0])
            lane.popleft()

    # One request

    async def _answer(self, request: LaneRequest) -> None:
        """Answer a request. The client may leave at any time."""
        record = record_of(self._scope).of_message()
        query = self._scope["query_string"]
        context = record.context = RequestContext(self._gateway, self, record, self._key, query, self._overrides)
        endpoint = msgspec.structs.replace(self._endpoint, keep=partial(self._recent.keep, request.lane))
        try:
            async with context:
                reply = await handle(endpoint, request.read, context)
                await self._send_reply(reply, request, record, context)
        except HungUp:
            pass
        finally:
            record.close(client_left=True)  # does nothing after an answer
            record.context = None

    async def _send_reply(
        self, reply: Reply, request: LaneRequest, record: RequestRecord, context: RequestContext
    ) -> None:
        headers = [(name.encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
        headers = record.begin(reply.status, [*headers, (b"content-type", reply.media_type.encode())])
        if reply.media_type != EVENTS and isinstance(reply.body, bytes):  # an error: all other answers are streams
            self._recent.forget_after_failure(request.previous, request.lane)
            shown = {name.decode(): value.decode("latin-1") for name, value in headers}
            context.end()
            await self._send_text(error_message(reply.body, reply.status, shown, request.lane))
            return
        messages = EventMessages(request.lane)
        async for part in _parts_of(reply, context):
            for name, message in messages.add(part):
                if name in LAST_EVENTS:
                    context.end()
                await self._send_text(message)

    async def _send_text(self, text: str) -> None:
        """Send a message when the client has read enough of the earlier ones. Raises HungUp if the client has left."""
        try:
            await self._send({"type": "websocket.send", "bytes": None, "text": text})
        except (OSError, RuntimeError):  # the client, or uvicorn after a violation of the protocol, closed it
            raise HungUp from None

    # The client of each request

    def headers(self) -> Iterable[tuple[bytes, bytes]]:
        """The headers of the handshake, without those for the WebSocket mode."""
        return [(name, value) for name, value in self._scope["headers"] if name != BETA]

    async def gone(self) -> None:
        """Return when the client has left."""
        await self._has_left.wait()

    async def drain(self) -> None:
        """Do nothing: each message is complete."""

    async def hang_up(self) -> None:
        """Cut the connection, without the closing messages of a WebSocket; return when it is cut."""
        self._scope["extensions"][CUT]()
        await self._has_left.wait()


async def _parts_of(reply: Reply, context: RequestContext) -> AsyncIterator[bytes]:
    if isinstance(reply.body, bytes):
        yield reply.body
        return
    async for part in context.keep_body(reply.body):
        yield part


async def serve_responses(
    scope: WebSocketScope,
    receive: Receive,
    send: Send,
    gateway: Gateway,
    stored: ResponseStore,
    endpoint_of: Callable[[ConnectionResponses], Endpoint],
) -> None:
    """Serve a WebSocket on ``/v1/responses``. ``endpoint_of`` makes an endpoint that knows recent responses."""
    recent = ConnectionResponses(stored)
    await ResponsesWebSocket(scope, receive, send, gateway, endpoint_of(recent), recent).serve()
