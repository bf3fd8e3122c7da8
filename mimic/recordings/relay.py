"""The chain of answers: recordings, the corpus, the upstream, and the fallback."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeAlias

import msgspec

from mimic.engine.base import CompletionRequest
from mimic.engine.overrides import MATCH_HEADER
from mimic.errors import Miss, NotRecorded, NotSeeded
from mimic.gateway.context import RequestContext
from mimic.gateway.delivery import Reply
from mimic.gateway.handle import Endpoint
from mimic.gateway.ledger import Ledger
from mimic.gateway.originals import OriginalCompletion
from mimic.recordings.answers import completion_of, original_of
from mimic.recordings.base import Recording, Recordings
from mimic.recordings.budget import Budget
from mimic.recordings.forwarding import Forwarder, Forwarding
from mimic.recordings.identity import Identity, differences, identity_of, likeness_of
from mimic.recordings.options import RECORDED, RelayOptions
from mimic.recordings.recorder import Recorder
from mimic.recordings.redaction import Redactor
from mimic.recordings.upstream import Upstream

Answer: TypeAlias = Callable[[Any], Awaitable[Any]]

LARGE: Final = 64 * 1024
"""Bytes of a request from which its identity takes some milliseconds."""
SHOWN_DIFFERENCES: Final = 10


class Neighbours(NamedTuple):
    """The engines of the chain before and after the upstream.

    ``corpus`` raises Miss. Without ``fallback``, a request that nothing answers is an error.
    """

    corpus: Answer | None
    fallback: Answer | None


class Relay:
    """Recordings and the upstream, as an async context manager. Without an upstream only recordings answer."""

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
        self._options = options
        self._recordings = recordings
        self._forwarder = Forwarder(upstream, Recorder(options, recordings), budget, count) if upstream else None
        self._redactor = redactor
        self._ledger = ledger

    async def __aenter__(self) -> Self:
        await self._recordings.__aenter__()
        if self._forwarder:
            await self._forwarder.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._forwarder:
            await self._forwarder.__aexit__(exc_type, exc, traceback)
        await self._recordings.__aexit__(exc_type, exc, traceback)

    def endpoint(self, endpoint: Endpoint, corpus: Answer | None, fallback: Answer | None) -> Endpoint:
        """An endpoint that answers by the chain. ``corpus`` raises Miss; without ``fallback`` a miss is an error."""
        return msgspec.structs.replace(endpoint, relay=partial(self._answer, Neighbours(corpus, fallback)))

    async def _answer(
        self, neighbours: Neighbours, endpoint: Endpoint, request: Any, body: bytes, context: RequestContext
    ) -> Any:
        """A completion, or the reply of the upstream. Raises Miss, RequestError, and the errors of the stores."""
        if not isinstance(request, CompletionRequest) or not endpoint.wire.is_relayed(request):
            return await endpoint.answer(request)
        redactor = self._redactor.knowing(context.key)
        identity = await self._identity_of(request, body, redactor)
        if self._options.record != "all":
            if found := await self._recordings.find(identity):
                return await self._replayed(found, endpoint, request)
            if neighbours.corpus is not None:
                with suppress(Miss, NotSeeded):
                    return await neighbours.corpus(request)
        forwarder = self._forwarder
        if forwarder is not None and not forwarder.is_paused:
            return await Forwarding(forwarder, endpoint, request, identity, redactor, context).answer(body)
        return await self._last_answer(neighbours, request, identity)

    async def _identity_of(self, request: CompletionRequest, body: bytes, redactor: Redactor) -> Identity:
        """The identity of a request. That of a long one would delay other requests on the event loop."""
        arguments = request, body, self._options.rules, redactor.clean
        if len(body) > LARGE:
            return await asyncio.to_thread(identity_of, *arguments)
        return identity_of(*arguments)

    async def _last_answer(self, neighbours: Neighbours, request: CompletionRequest, identity: Identity) -> Any:
        """The answer without recording, corpus and upstream. Raises NotRecorded, and RequestError (502) in a pause."""
        if neighbours.fallback is not None:
            return await neighbours.fallback(request)
        if self._forwarder is not None:
            raise self._forwarder.upstream.pause_error()
        raise await self._not_recorded(identity)

    async def _replayed(
        self, found: Sequence[Recording], endpoint: Endpoint, request: CompletionRequest
    ) -> OriginalCompletion | Reply:
        recording = self._pick(found, endpoint.path, stream=request.stream)
        if recording.is_error:
            return Reply(recording.text.encode(), {MATCH_HEADER: RECORDED}, recording.status)
        original = original_of(recording) if recording.fits(endpoint.path, stream=request.stream) else None
        return await completion_of(recording.answer, request, RECORDED, original, recording.key)

    def _pick(self, found: Sequence[Recording], path: str, *, stream: bool) -> Recording:
        """Choose among several recordings of a request: first those in the form of the request, whose bytes fit."""
        found = [one for one in found if one.fits(path, stream=stream)] or found
        if self._options.order == "newest" or len(found) == 1 or not self._ledger.is_open:
            return found[-1]
        with self._ledger.transaction() as changes:
            return found[changes.count(f"recording {found[0].key}") % len(found)]

    async def _not_recorded(self, identity: Identity) -> NotRecorded:
        """The error of a request without a recording: it shows the differences from the nearest one."""
        recordings = await self._recordings.all()
        if not recordings:
            return NotRecorded("Nothing is recorded")
        identities = {one.key: Identity.of(one.request, self._options.rules) for one in recordings}
        nearest = max(identities, key=lambda key: likeness_of(identity, identities[key]))
        lines = differences(identity, identities[nearest])
        shown = "; ".join(lines[:SHOWN_DIFFERENCES])
        more = f"; and {len(lines) - SHOWN_DIFFERENCES} more" if len(lines) > SHOWN_DIFFERENCES else ""
        return NotRecorded(f"This request is not recorded. The nearest recording ({nearest}) differs: {shown}{more}")
