"""Requests that are passed on to the upstream."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec
import structlog

from mimic.engine.base import Completion, CompletionRequest
from mimic.errors import MimicError, RequestError
from mimic.gateway.context import RequestContext
from mimic.gateway.delivery import OK, STREAM_HEADERS, Reply
from mimic.gateway.handle import Endpoint
from mimic.recordings.answers import UPSTREAM, completion_of, live_headers
from mimic.recordings.base import ERROR
from mimic.recordings.budget import Budget, Reservation
from mimic.recordings.calls import UpstreamCall
from mimic.recordings.identity import Identity
from mimic.recordings.reader import LiveBody, StreamReader, read_all
from mimic.recordings.recorder import Recorder
from mimic.recordings.redaction import Redactor
from mimic.recordings.tape import Tape
from mimic.recordings.upstream import Upstream, cancel_all, returned_headers, upstream_error
from mimic.wire.base import EVENTS, JSON, Given, GivenAnswer

log = structlog.get_logger("mimic")

NO_ANSWER: Final = Given("", GivenAnswer([]))
"""The answer of an error."""
SECONDS_AFTER_CLIENT: Final = 60.0
"""Seconds to read on for a recording after the client has left."""
SECONDS_TO_STOP: Final = 5.0
"""Seconds that a server which stops waits for the ends of recordings."""


class Forwarder:
    """The upstream with its budget and its recorder, as an async context manager.

    ``count`` is called with the outcome of each request that was passed on.
    """

    def __init__(
        self, upstream: Upstream, recorder: Recorder, budget: Budget | None, count: Callable[[str], None]
    ) -> None:
        self.upstream = upstream
        self.recorder = recorder
        self.budget = budget
        self.count = count
        self._unfinished: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.upstream.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._unfinished:
            await asyncio.wait(self._unfinished, timeout=SECONDS_TO_STOP)
        await cancel_all(self._unfinished)
        await self.upstream.__aexit__(exc_type, exc, traceback)

    @property
    def is_paused(self) -> bool:
        """True while the upstream gets no requests, after failures."""
        return self.upstream.is_paused

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Start work that may last longer than its request."""
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return task

    async def reserve(self, request: CompletionRequest) -> Reservation | None:
        """Reserve the tokens of a request in the budget, if there is one. Raises RequestError (429)."""
        return await self.budget.reserve(request) if self.budget else None


class Forwarding:
    """A request that is passed on."""

    def __init__(
        self,
        forwarder: Forwarder,
        endpoint: Endpoint,
        request: CompletionRequest,
        identity: Identity,
        redactor: Redactor,
        context: RequestContext,
    ) -> None:
        self._forwarder = forwarder
        self._endpoint = endpoint
        self._wire = endpoint.wire
        self._request = request
        self._identity = identity
        self._redactor = redactor
        self._context = context
        self._reserved: Reservation | None = None
        self._tape = Tape()
        self._call = UpstreamCall()

    async def answer(self, body: bytes) -> Any:
        """The answer of the upstream: as it comes for a stream or an error, else as a whole. Raises RequestError.

        A stream whose delivery has a fault or a pace of Mimic's is read as a whole first.
        """
        self._reserved = await self._forwarder.reserve(self._request)
        self._call = self._forwarder.upstream.call(self._endpoint.path, self._request.model)
        is_live = False
        try:
            response = await self._send(body)
            kind = response.headers.get("content-type", JSON).partition(";")[0].strip()
            if is_live := response.status < ERROR and kind == EVENTS and not self._context.is_altered:
                headers = {**STREAM_HEADERS, **returned_headers(response), **live_headers()}
                return Reply(self._live(response), headers, media_type=EVENTS)
            await self._read_all(response)
            return await (self._error if response.status >= ERROR else self._whole)(response, kind)
        finally:
            if not is_live:
                self._call.end()

    async def _send(self, body: bytes) -> aiohttp.ClientResponse:
        """Send the request. Raises RequestError (502)."""
        context, sent = self._context, self._wire.forwarded(self._request, body)
        send, path = self._forwarder.upstream.send, self._endpoint.path
        try:
            return await send(self._call, path, sent, context.client_headers, context.key)
        except RequestError:
            await self._settle_budget(0)
            self._forwarder.count("unreachable")
            raise

    async def _read_all(self, response: aiohttp.ClientResponse) -> None:
        """Read a whole answer. Raises RequestError (502) if it is cut."""
        try:
            await read_all(response, self._tape)
        except RequestError as exc:
            self._forwarder.count("cut")
            self._call.failed(type(exc.__cause__).__name__)
            raise

    def _check_json(self) -> None:
        """Raise RequestError for a body that is not JSON: a coding that ends early decodes to the beginning of one."""
        try:
            msgspec.json.decode(self._tape.body)
        except msgspec.DecodeError as exc:
            self._forwarder.count("cut")
            raise upstream_error("its answer is not valid JSON") from exc

    async def _settle_budget(self, tokens: int) -> None:
        if self._reserved is not None:
            await self._reserved.settle(tokens)

    async def _error(self, response: aiohttp.ClientResponse, kind: str) -> Reply:
        """An error of the upstream, as it is."""
        await self._settle_budget(0)
        self._forwarder.count("error")
        if self._forwarder.recorder.keeps_errors:
            await self._record(NO_ANSWER, stream=self._request.stream, status=response.status)
        return Reply(self._tape.body, returned_headers(response), response.status, kind)

    async def _whole(self, response: aiohttp.ClientResponse, kind: str) -> Completion | Reply:
        """A whole answer as a completion; as it is, if its form is unknown. Raises RequestError if it is no JSON."""
        is_stream = kind == EVENTS
        given = self._wire.given(self._tape.body, is_stream=is_stream)
        if given is None and kind == JSON:
            self._check_json()
        self._forwarder.count("answered")
        if given is None:
            log.warning("an answer of the upstream has no known form", path=self._endpoint.path)
            return Reply(self._tape.body, {**returned_headers(response), **live_headers()}, media_type=kind)
        await self._record(given, stream=is_stream)
        original = self._tape.original(given.id, kind)
        completion = await completion_of(given.answer, self._request, UPSTREAM, original, self._identity.key)
        await self._use(completion)
        return completion

    async def _use(self, completion: Completion) -> None:
        """Settle the budget, and show the tokens."""
        self._call.used(completion.usage)
        await self._settle_budget(completion.usage.total_tokens)

    def _live(self, response: aiohttp.ClientResponse) -> LiveBody:
        """The body of a stream as it comes. A task of its own reads it for the recording."""
        reader = StreamReader(response, self._tape, self._when_whole)
        task = self._forwarder.start(reader.read())
        task.add_done_callback(lambda _: self._end(reader))
        seconds = SECONDS_AFTER_CLIENT if self._forwarder.recorder.is_on else 0.0
        return LiveBody(reader, task, self._cut, seconds)

    async def _cut(self) -> None:
        """Cut the connection to the client, since the upstream cut its own."""
        self._forwarder.count("cut")
        await self._context.hang_up()

    def _end(self, reader: StreamReader) -> None:
        """End the call of a stream."""
        if reader.failure:
            self._call.failed(reader.failure)
        self._call.end()

    async def _when_whole(self, *, has_client: bool) -> bool:
        """Count and record a stream, if it is complete. Only pieces near the end of an answer are worth a look."""
        if not self._tape.has_at_end(self._wire.ends):
            return False
        if not (given := self._wire.given(self._tape.body, is_stream=True)):
            return False
        completion = await completion_of(given.answer, self._request, UPSTREAM, None, self._identity.key)
        self._forwarder.count("answered")
        try:
            await self._use(completion)
            if has_client:
                await self._settle(given.id, completion)
        except MimicError as exc:  # the rest of the stream is sent all the same
            log.error("a relayed stream could not be stored", key=self._identity.key, reason=str(exc))  # noqa: TRY400
        await self._record(given, stream=True)
        return True

    async def _settle(self, answer_id: str, completion: Completion) -> None:
        """Count, charge and store a stream at its end."""
        context, request = self._context, self._request
        if context.known.version:
            context.observer.completed(context.known.version, completion)
        with suppress(RequestError):  # the stream was sent: the tokens are missing from the bucket of later requests
            context.charge(completion.usage)
        if self._endpoint.keep is not None and request.stored:
            await self._endpoint.keep(self._wire.identified(request, answer_id), completion, context)

    async def _record(self, given: Given, *, stream: bool, status: int = OK) -> None:
        await self._forwarder.recorder.record(
            self._identity, self._endpoint.path, given, self._tape, self._redactor, stream=stream, status=status
        )
