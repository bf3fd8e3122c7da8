"""The chain of answers with recordings: recordings, the corpus, the upstream, and the fallback."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import aiohttp
import msgspec
import structlog

from mimic.engine.base import Completion, CompletionRequest
from mimic.engine.overrides import MATCH_HEADER
from mimic.errors import MimicError, Miss, NotRecorded, NotSeeded, RequestError, StoreError
from mimic.gateway.context import RequestContext
from mimic.gateway.delivery import OK, STREAM_HEADERS, Reply
from mimic.gateway.handle import Endpoint
from mimic.gateway.ledger import Ledger
from mimic.gateway.originals import OriginalCompletion
from mimic.recordings.answers import UPSTREAM, completion_of, live_headers, original_of
from mimic.recordings.base import ERROR, Chunk, Recording, Recordings
from mimic.recordings.budget import Budget, Reservation
from mimic.recordings.identity import (
    Identity,
    differences,
    identity_of,
    likeness_of,
    map_texts,
)
from mimic.recordings.options import RECORDED, RelayOptions
from mimic.recordings.redaction import Redactor
from mimic.recordings.tape import Tape
from mimic.recordings.upstream import FAILED, Upstream, cancel_all, returned_headers, upstream_error
from mimic.wire.base import EVENTS, JSON, Given, GivenAnswer

log = structlog.get_logger("mimic")

Answer: TypeAlias = Callable[[Any], Awaitable[Any]]
WhenWhole: TypeAlias = Callable[..., Awaitable[bool]]

PIECES_AHEAD: Final = 16
"""Pieces of a stream that wait for a slow client."""
NO_ANSWER: Final = Given("", GivenAnswer([]))
"""The answer of an error."""
LINE_ENDS: Final = (b"\n", b"\r")
SECONDS_AFTER_CLIENT: Final = 60.0
"""Seconds to read on for a recording after the client has left."""
SECONDS_TO_STOP: Final = 5.0
"""Seconds that a server which stops waits for the ends of recordings."""
SHOWN_DIFFERENCES: Final = 10


class Relay:
    """The parts that the endpoints share, as an async context manager: recordings, upstream, and recordings to finish.

    ``fallback`` is false if a request that only the upstream could answer is a miss while the upstream is paused.
    """

    def __init__(
        self,
        options: RelayOptions,
        recordings: Recordings,
        upstream: Upstream | None,
        redactor: Redactor,
        ledger: Ledger,
        budget: Budget | None = None,
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``count`` is called with the outcome of each request that was passed on."""
        self.options = options
        self.budget = budget
        self.count = count
        self.recordings = recordings
        self.upstream = upstream
        self.redactor = redactor
        self._ledger = ledger
        self._unfinished: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.recordings.__aenter__()
        if self.upstream:
            await self.upstream.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._unfinished:
            await asyncio.wait(self._unfinished, timeout=SECONDS_TO_STOP)
        await cancel_all(self._unfinished)
        if self.upstream:
            await self.upstream.__aexit__(exc_type, exc, traceback)
        await self.recordings.__aexit__(exc_type, exc, traceback)

    def endpoint(self, endpoint: Endpoint, corpus: Answer | None, fallback: Answer | None) -> Endpoint:
        """An endpoint that answers by the chain. ``corpus`` raises Miss; without ``fallback`` a miss is an error."""
        return msgspec.structs.replace(endpoint, relay=_RelayedEndpoint(self, endpoint, corpus, fallback).answer)

    def pick(self, found: Sequence[Recording], path: str, *, stream: bool) -> Recording:
        """Choose among several recordings of a request: first those in the form of the request, whose bytes fit."""
        found = [one for one in found if one.path == path and one.stream == stream] or found
        if self.options.order == "newest" or len(found) == 1 or not self._ledger.is_open:
            return found[-1]
        with self._ledger.transaction() as changes:
            return found[changes.count(f"recording {found[0].key}") % len(found)]

    async def not_recorded(self, identity: Identity) -> NotRecorded:
        """The error of a request without a recording: it shows the differences from the nearest one."""
        recordings = await self.recordings.all()
        if not recordings:
            return NotRecorded("Nothing is recorded")
        identities = {one.key: Identity.of(one.request, self.options.rules) for one in recordings}
        nearest = max(identities, key=lambda key: likeness_of(identity, identities[key]))
        lines = differences(identity, identities[nearest])
        shown = "; ".join(lines[:SHOWN_DIFFERENCES])
        more = f"; and {len(lines) - SHOWN_DIFFERENCES} more" if len(lines) > SHOWN_DIFFERENCES else ""
        return NotRecorded(f"This request is not recorded. The nearest recording ({nearest}) differs: {shown}{more}")

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Start work that may last longer than its request."""
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return task

    async def keep(self, recording: Recording) -> None:
        """Keep a recording. A failure is logged: the client has its answer all the same."""
        try:
            if await self.recordings.add(recording):
                log.info("recorded", key=recording.key, path=recording.path)
        except StoreError as exc:
            reason = f"{exc}{f': {exc.__cause__!r}' if exc.__cause__ else ''}"
            log.error("an answer could not be recorded", key=recording.key, reason=reason)  # noqa: TRY400


class _RelayedEndpoint:
    """The chain of one endpoint."""

    def __init__(self, relay: Relay, endpoint: Endpoint, corpus: Answer | None, fallback: Answer | None) -> None:
        self._relay = relay
        self._endpoint = endpoint
        self._wire = endpoint.wire
        self._corpus = corpus
        self._fallback = fallback

    async def answer(self, request: Any, body: bytes, context: RequestContext) -> Any:
        """A completion, or the reply of the upstream. Raises Miss, RequestError, and the errors of the stores."""
        if not isinstance(request, CompletionRequest) or not self._wire.is_relayed(request):
            return await self._endpoint.answer(request)
        relay = self._relay
        redactor = relay.redactor.knowing(context.key)
        identity = identity_of(request, body, relay.options.rules, redactor.clean)
        missed: Exception | None = None
        if relay.options.record != "all":
            if found := await relay.recordings.find(identity):
                return await self._replayed(found, request)
            if self._corpus is not None:
                try:
                    return await self._corpus(request)
                except (Miss, NotSeeded) as exc:
                    missed = exc
        upstream = relay.upstream
        if upstream is not None and not upstream.is_paused:
            return await _Forwarding(relay, upstream, self._endpoint, identity, redactor, context).answer(request, body)
        if self._fallback is not None:
            return await self._fallback(request)
        raise missed or await relay.not_recorded(identity)

    async def _replayed(self, found: Sequence[Recording], request: CompletionRequest) -> OriginalCompletion | Reply:
        recording = self._relay.pick(found, self._endpoint.path, stream=request.stream)
        if recording.is_error:
            return Reply(recording.text.encode(), {MATCH_HEADER: RECORDED}, recording.status)
        fits = recording.path == self._endpoint.path and recording.stream == request.stream
        return await completion_of(
            recording.answer, request, RECORDED, original_of(recording) if fits else None, recording.key
        )


class _Forwarding:
    """A request that is passed on to the upstream."""

    def __init__(
        self,
        relay: Relay,
        upstream: Upstream,
        endpoint: Endpoint,
        identity: Identity,
        redactor: Redactor,
        context: RequestContext,
    ) -> None:
        self._relay = relay
        self._upstream = upstream
        self._endpoint = endpoint
        self._identity = identity
        self._redactor = redactor
        self._context = context
        self._reserved: Reservation | None = None

    async def answer(self, request: CompletionRequest, body: bytes) -> Any:
        """The answer of the upstream: as it comes for a stream or an error, else as a whole."""
        context = self._context
        sent = self._endpoint.wire.forwarded(request, body)
        relay, tape = self._relay, Tape()
        self._reserved = await relay.budget.reserve(request) if relay.budget else None
        try:
            response = await self._upstream.send(self._endpoint.path, sent, context.client_headers, context.key)
        except RequestError:
            await self._settle_budget(0)
            relay.count("unreachable")
            raise
        kind = response.headers.get("content-type", JSON).partition(";")[0].strip()
        if response.status < ERROR and kind == EVENTS:
            headers = {**STREAM_HEADERS, **returned_headers(response), **live_headers()}
            return Reply(self._live(response, request, tape), headers, media_type=EVENTS)
        try:
            await _read_all(response, tape)
        except RequestError:
            relay.count("cut")
            raise
        if response.status >= ERROR:
            await self._settle_budget(0)
            relay.count("error")
            if relay.options.errors:
                await self._record(NO_ANSWER, tape, is_stream=request.stream, status=response.status)
            return Reply(tape.body, returned_headers(response), response.status, kind)
        relay.count("answered")
        given = self._endpoint.wire.given(tape.body, is_stream=False)
        if given is None:
            log.warning("an answer of the upstream has no known form", path=self._endpoint.path)
            return Reply(tape.body, {**returned_headers(response), **live_headers()}, media_type=kind)
        await self._record(given, tape, is_stream=False)
        original = tape.original(given.id, kind)
        completion = await completion_of(given.answer, request, UPSTREAM, original, self._identity.key)
        await self._settle_budget(completion.usage.total_tokens)
        return completion

    async def _settle_budget(self, tokens: int) -> None:
        if self._reserved is not None:
            await self._reserved.settle(tokens)

    async def _live(
        self, response: aiohttp.ClientResponse, request: CompletionRequest, tape: Tape
    ) -> AsyncGenerator[bytes]:
        """Yield the pieces of a stream as they come. Cut the connection where the upstream cuts its own.

        A task of its own reads them, so that a recording is complete although its client has left.
        """
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue(PIECES_AHEAD)
        reader = _Reader(response, tape, pieces, partial(self._when_whole, request, tape))
        task = self._relay.start(reader.read())
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
        finally:
            reader.abandon()
            if not task.done():
                seconds = 0.0 if self._relay.options.record == "off" else SECONDS_AFTER_CLIENT
                asyncio.get_running_loop().call_later(seconds, task.cancel)
        if reader.is_cut:
            self._relay.count("cut")
            await self._context.hang_up()

    async def _when_whole(self, request: CompletionRequest, tape: Tape, *, has_client: bool) -> bool:
        """Count and record the answer, if it is complete. Only pieces near the end of an answer are worth a look."""
        wire = self._endpoint.wire
        if not any(mark in tape.last for mark in wire.ends) or not (given := wire.given(tape.body, is_stream=True)):
            return False
        completion = await completion_of(given.answer, request, UPSTREAM, None, self._identity.key)
        self._relay.count("answered")
        try:
            await self._settle_budget(completion.usage.total_tokens)
            if has_client:
                await self._settle(request, given.id, completion)
        except MimicError as exc:  # the rest of the stream is sent all the same
            log.error("a relayed stream could not be stored", key=self._identity.key, reason=str(exc))  # noqa: TRY400
        await self._record(given, tape, is_stream=True)
        return True

    async def _settle(self, request: CompletionRequest, answer_id: str, completion: Completion) -> None:
        """Count, charge and store a stream at its end."""
        context = self._context
        if context.known.version:
            context.observer.completed(context.known.version, completion)
        with suppress(RequestError):  # the stream was sent: the tokens are missing from the bucket of later requests
            context.charge(completion.usage)
        if self._endpoint.keep is not None and request.stored:
            await self._endpoint.keep(self._endpoint.wire.identified(request, answer_id), completion, context)

    async def _record(self, given: Given, tape: Tape, *, is_stream: bool, status: int = OK) -> None:
        if self._relay.options.record == "off" or tape.is_too_long:
            return
        answer, chunks = await asyncio.to_thread(_without_secrets, given.answer, tape, self._redactor)
        recording = Recording(
            key=self._identity.key,
            request=self._identity.parts,
            answer=answer,
            path=self._endpoint.path,
            stream=is_stream,
            status=status,
            id=given.id,
            chunks=chunks,
        )
        await self._relay.keep(recording)


def _without_secrets(answer: GivenAnswer, tape: Tape, redactor: Redactor) -> tuple[GivenAnswer, Sequence[Chunk]]:
    """An answer and its bytes without secrets; no bytes, if they have one. Blocks."""
    clean = redactor.clean
    cleaned = msgspec.convert(map_texts(msgspec.to_builtins(answer), clean), GivenAnswer)
    chunks = tape.chunks()
    whole = "".join(chunk.text for chunk in chunks)
    return cleaned, chunks if cleaned == answer and clean(whole) == whole else ()


class _Reader:
    """Reads a stream of the upstream into a queue, whose end is None.

    ``when_whole`` is called after each piece that ends a line, before the piece is passed on: a client may ask again
    right after the last one. It returns true for a complete answer.
    """

    def __init__(
        self, response: aiohttp.ClientResponse, tape: Tape, pieces: "asyncio.Queue[bytes | None]", when_whole: WhenWhole
    ) -> None:
        self._response = response
        self._tape = tape
        self._pieces = pieces
        self._when_whole = when_whole
        self._is_abandoned = False
        self.is_cut = False
        """True if the upstream cut its answer."""

    async def read(self) -> None:
        """Read all pieces."""
        is_whole = False
        try:
            async for piece in self._response.content.iter_any():
                self._tape.add(piece)
                if not is_whole and piece.endswith(LINE_ENDS):
                    is_whole = await self._when_whole(has_client=not self._is_abandoned)
                await self._pass_on(piece)
            if not is_whole:
                log.warning("a stream of the upstream has no end, and is not recorded")
        except FAILED as exc:
            self.is_cut = True
            log.warning("the upstream cut its answer", cause=repr(exc))
        finally:
            self._response.close()
            await self._pass_on(None)

    async def _pass_on(self, piece: bytes | None) -> None:
        if not self._is_abandoned:
            await self._pieces.put(piece)

    def abandon(self) -> None:
        """Pass nothing more on, since the client has left."""
        self._is_abandoned = True
        while not self._pieces.empty():  # a reader may wait for space
            self._pieces.get_nowait()


async def _read_all(response: aiohttp.ClientResponse, tape: Tape) -> None:
    """Read a whole answer. Raises RequestError if it is cut."""
    try:
        async for piece in response.content.iter_any():
            tape.add(piece)
    except FAILED as exc:
        raise upstream_error(f"it cut its answer ({type(exc).__name__})") from exc
    finally:
        response.close()
