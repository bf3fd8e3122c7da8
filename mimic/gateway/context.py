"""The context of one request over any transport: HTTP, a WebSocket, a line of a batch, a message of a broker."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from random import Random
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec
import structlog

from mimic.corpus.schemas import Version
from mimic.engine.base import Completion, Known, Usage
from mimic.engine.overrides import NO_OVERRIDES, Overrides
from mimic.errors import RequestError, StoreError
from mimic.gateway.auth import Keys
from mimic.gateway.concurrency_limit import ConcurrencyLimit
from mimic.gateway.faults import Fault, FaultInjector, injected_error
from mimic.gateway.ledger import Changes, Ledger
from mimic.gateway.pacing import INSTANT, RECORDED, PaceOptions, Timing
from mimic.gateway.rate_limits import RateLimiter

log = structlog.get_logger("mimic")

SEED_BITS: Final = 63
"""Bits of the seed of a timing, which must fit into the integers of any format."""


class HungUp(Exception):
    """The connection was cut by an injected fault, and nothing more can be sent."""


class Policy(msgspec.Struct, frozen=True):
    """The rules for requests of an endpoint: rate limits, injected faults, and the queue.

    A queued request waits for a place, and gets its answer at the pace of a model.
    """

    limited: bool = False
    faulty: bool = False
    queued: bool = False


class Client(Protocol):
    """The connection to the client of a request."""

    async def gone(self) -> None:
        """Return when the client has left. Call it after the body was read."""

    async def drain(self) -> None:
        """Read and discard the rest of the body."""

    async def hang_up(self) -> None:
        """Cut the connection after all written data are sent; return when it is cut."""

    def headers(self) -> Iterable[tuple[bytes, bytes]]:
        """The headers of the request; none without HTTP."""


class Observer(Protocol):
    """Interface for metrics, journal and log, called at each step of a request. The server implements it."""

    request_id: str
    is_recorded: bool
    """True if the request belongs in the journal."""

    def record(self, changes: Changes) -> None:
        """Write the current state of the request to the journal."""

    def unrecord(self) -> None:
        """Undo :meth:`record`, since its transaction failed."""

    def completed(self, version: Version, completion: Completion) -> None:
        """Count the completion of an engine."""

    def continued(self, version: Version, choices: int) -> None:
        """Count choices that will be sent next."""

    def missed(self, version: Version) -> None:
        """Count a miss: the corpus has no answer."""

    def ignored(self, fields: Sequence[str]) -> None:
        """Fields of the request were left out."""

    def close(self) -> None:
        """End the record: the answer is complete or cut off. The creator of the observer closes all others."""


class Gateway:
    """The parts that all requests of a process share: keys, limits, faults, places, pace and ledger."""

    def __init__(
        self,
        ledger: Ledger,
        keys: Keys,
        limiter: RateLimiter,
        faults: FaultInjector,
        places: ConcurrencyLimit,
        pace: PaceOptions,
    ) -> None:
        self.ledger = ledger
        self.keys = keys
        self.limiter = limiter
        self.faults = faults
        self.places = places
        self.pace = pace
        self.default_pace = pace.default
        self.is_plain = self.default_pace is INSTANT and not (limiter.is_on or faults.is_on)
        """True without rate limits, faults and pace, except for requests that choose a fault or a pace."""
        self.random = Random()  # noqa: S311 - no secret depends on it


class RequestContext:
    """The state of one request, an async context manager. Its creator enters it.

    ``key`` is the API key of the request. ``overrides`` are its own choices of match, pace and fault. ``headers`` are
    added to every answer, errors included. ``timing`` has the times of the tokens after :meth:`due`, if they wait.
    ``injected`` is the fault, after it was injected. ``tool_calls`` are the names of the tools that the answer calls,
    unless ``is_plain`` is true. If ``is_plain`` is true, :meth:`admit`, :meth:`due` and :meth:`inject` would do
    nothing. Calling them all the same would take a tenth of the time of a short answer.
    """

    __slots__ = (
        "_body",
        "_client",
        "_fault",
        "_gateway",
        "_has_place",
        "_in_flight",
        "_pace",
        "headers",
        "injected",
        "is_plain",
        "key",
        "known",
        "observer",
        "overrides",
        "query",
        "timing",
        "tool_calls",
        "usage",
    )

    def __init__(
        self,
        gateway: Gateway,
        client: Client,
        observer: Observer,
        key: str = "",
        query: bytes = b"",
        overrides: Overrides = NO_OVERRIDES,
    ) -> None:
        self._gateway = gateway
        self._client = client
        self.observer = observer
        self.key = key
        self.query = query
        if overrides is NO_OVERRIDES:
            self._pace, self.overrides = gateway.default_pace, overrides
            self.is_plain = gateway.is_plain and not observer.is_recorded
        else:
            self._pace, self.overrides = gateway.pace.choose(overrides)
            self.is_plain = False
        self.known = Known()
        if gateway.keys.are_required:
            self.known.owner = gateway.keys.owner_of(key)
        self.headers: dict[str, str] = {}
        self.usage: Usage | None = None
        self.timing: Timing | None = None
        self.tool_calls: Sequence[str] = ()
        self.injected: Fault | None = None
        self._fault: Fault | None = None
        self._has_place = False
        self._in_flight = 1
        self._body: AsyncIterator[bytes] | None = None

    @property
    def owner(self) -> str:
        """The owner of the records of this request: see :meth:`Keys.owner_of`."""
        return self.known.owner

    @property
    def client_headers(self) -> Iterable[tuple[bytes, bytes]]:
        """The headers of the request; none without HTTP."""
        return self._client.headers()

    @property
    def is_altered(self) -> bool:
        """True if a fault or a pace changes the delivery of the answer. The pace is known after :meth:`due`."""
        return self._fault is not None or self.timing is not None

    @property
    def keeps_pace(self) -> bool:
        """True if recorded answers come at the pace of their recording."""
        return (self.overrides.pace or self._gateway.pace.pace) == RECORDED

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the rest of the reply and release the place, also if the request was cancelled."""
        body, self._body = self._body, None
        try:
            if body is not None and (close := getattr(body, "aclose", None)):
                await close()
        finally:
            if self._has_place:
                self._give_place_back()

    def end(self) -> None:
        """End the request before the last byte of its answer: the client may read metrics and journal right after."""
        if self._has_place:
            self._give_place_back()
        self.observer.close()

    def _give_place_back(self) -> None:
        self._has_place = False
        self._gateway.places.give_back()

    async def admit(self, policy: Policy) -> None:
        """Write the journal entry, then apply the rate limits and any fault that comes before an answer.

        The body need not have arrived. Raises RequestError if a limit or a fault refuses the request, and HungUp if
        a fault cuts the connection.
        """
        self._fault = fault = self._apply_policy(policy)
        if fault and fault.kind == "status":
            self.injected = fault
            raise injected_error(fault, fault.status or 0)
        if fault and fault.kind == "disconnect" and not fault.after:
            await self._client.drain()  # unread data would turn the close into a reset
            await self.hang_up()
            raise HungUp

    def try_take_place(self) -> bool:
        """Take a place if there is no concurrency limit. Returns whether the request has a place."""
        if in_flight := self._gateway.places.take_now():
            self._in_flight, self._has_place = in_flight, True
        return self._has_place

    async def wait_for_place(self) -> None:
        """Wait for a place. Raises RequestError (499) if the client leaves meanwhile."""
        places = self._gateway.places
        if places.is_full:
            await self._wait_in_line()
        else:
            self._in_flight = await places.take()
            self._has_place = True

    async def _wait_in_line(self) -> None:
        place = asyncio.ensure_future(self._gateway.places.take())
        departure = asyncio.ensure_future(self._client.gone())
        try:
            await asyncio.wait((place, departure), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._has_place = place.done() and not place.cancelled()  # both may be done at once
            place.cancel()
            departure.cancel()
        if departure.done() and not departure.cancelled():
            raise RequestError(499, "The client went away before its turn came", code="client_closed_request")
        self._in_flight = place.result()

    def _apply_policy(self, policy: Policy) -> Fault | None:
        """Write the journal entry, apply the limits and count faults, in one transaction. Returns the fault, if any."""
        gateway, named = self._gateway, self.overrides.fault if policy.faulty else None
        limited = policy.limited and gateway.limiter.is_on
        by_chance = policy.faulty and named is None and gateway.faults.is_on
        counted = by_chance and gateway.faults.is_counted
        number, error = 0, None
        if limited or counted or self.observer.is_recorded:
            try:
                with gateway.ledger.transaction() as changes:
                    self.observer.record(changes)
                    error = gateway.limiter.admit(changes, self.key, self.headers) if limited else None
                    number = changes.count("faults") if counted and not error else 0
            except StoreError as exc:
                self.observer.unrecord()
                if limited or counted:
                    raise
                log.warning(
                    "a request is not in the journal", request_id=self.observer.request_id, cause=repr(exc.__cause__)
                )
        if error:
            raise error
        if named is not None:
            return gateway.faults.named(named)
        return gateway.faults.by_chance(number) if by_chance else None

    def charge(self, usage: Usage) -> None:
        """Record the tokens of a request, and take them from the token bucket of its key. Raises RequestError (429)."""
        self.usage = usage
        limiter = self._gateway.limiter
        if limiter.counts_tokens:
            with self._gateway.ledger.transaction() as changes:
                error = limiter.charge(changes, self.key, usage.total_tokens, self.headers)
            if error:
                raise error

    def alter(self, completion: Completion) -> Completion:
        """Return the completion with the fault ``empty`` or ``break-tool-call`` of the request, if it has one.

        Without a tool call there is nothing to break: the request then has no fault. Records the names of called tools.
        """
        kind = self._fault.kind if self._fault else None
        if kind == "empty":
            return completion.emptied()
        self.tool_calls = [call.name for answer in completion.answers for call in answer.tool_calls]
        if kind == "break-tool-call":
            completion, whole = completion.with_broken_calls(), completion
            if completion is whole:
                self._fault = None
        return completion

    def inject(self) -> Fault | None:
        """Record the fault of the answer as injected, and return it."""
        self.injected = self._fault
        return self._fault

    def due(self) -> Iterator[float] | None:
        """Yield the due time of each token on the event loop's clock; return None if nothing has to wait."""
        pace, fault = self._pace, self._fault
        delay = fault.seconds or 0.0 if fault and fault.kind == "slow-headers" else 0.0
        if pace is INSTANT and not delay:
            return None
        gateway = self._gateway
        seed = gateway.random.getrandbits(SEED_BITS)
        self.timing = timing = Timing(pace, seed, gateway.pace.stretch(self._in_flight), delay)
        began = asyncio.get_running_loop().time()
        return (began + moment for moment in timing.moments())

    async def wait_until(self, moment: float) -> None:
        """Wait for a moment on the event loop's clock. Raises RequestError (499) if the client leaves meanwhile."""
        try:
            async with asyncio.timeout_at(moment):
                await self._client.gone()
        except TimeoutError:
            return
        raise RequestError(499, "The client went away before its answer was due", code="client_closed_request")

    async def hang_up(self) -> None:
        """Inject the fault ``disconnect``: cut the connection."""
        self.injected = self._fault
        self.observer.close()  # before the client can notice, and read the journal
        await self._client.hang_up()

    def keep_body(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Keep a body that is being sent, to close it with the context."""
        self._body = body
        return body
