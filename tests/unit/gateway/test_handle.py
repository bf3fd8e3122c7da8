"""One request through ``handle``: in which order things happen, what the ledger is asked, and what is left behind."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from mimic.corpus.schemas import Version
from mimic.corpus.stores.base import Batches
from mimic.engine.base import Answer, Answers, Completion, CompletionRequest, Continuations, Usage
from mimic.engine.overrides import NO_OVERRIDES, Overrides
from mimic.errors import NoCompletion, RequestError, StoreUnavailable
from mimic.gateway.auth import BruteForceGuard, Keys
from mimic.gateway.concurrency_limit import ConcurrencyLimit
from mimic.gateway.context import Gateway, HungUp, Policy, RequestContext
from mimic.gateway.delivery import Reply
from mimic.gateway.faults import FaultInjector, FaultOptions, parse_chances
from mimic.gateway.handle import Endpoint, Read, handle
from mimic.gateway.ledger import Changes, Ledger
from mimic.gateway.pacing import PaceOptions
from mimic.gateway.rate_limits import LimitOptions, RateLimiter
from mimic.wire.openai.chat import PATH, ChatWire
from mimic.wire.openai.sampled import CompletionOptions

pytestmark = pytest.mark.anyio

EVERYTHING = Policy(limited=True, faulty=True, queued=True)
CHAT = b'{"model": "mimic-v2", "messages": [{"role": "user", "content": "hi"}]}'
STREAM = CHAT[:-1] + b', "stream": true}'
COMPLETION = Completion([Answers("last", 1.0, [Answer("hello", [24912], "stop", None)])], Usage(8, 1))
NO_FAULTS, NO_LIMITS, AT_ONCE = FaultOptions(), LimitOptions(), PaceOptions()


class CountedLedger(Ledger):
    """A ledger that counts its transactions, and that can be told to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions = 0
        self.fails = False

    @contextmanager
    def transaction(self) -> Iterator[Changes]:
        """A transaction, counted."""
        self.transactions += 1
        if self.fails:
            raise StoreUnavailable("the ledger is away")
        with super().transaction() as changes:
            yield changes


class Watcher:
    """An observer that writes down what it sees, and records itself in the journal if it is to."""

    request_id = "req_1"

    def __init__(self, ledger: Ledger, *, is_recorded: bool = False) -> None:
        self.seen: list[str] = []
        self.is_recorded = is_recorded
        self._ledger = ledger
        self._number = 0

    def record(self, changes: Changes) -> None:
        """Write an entry."""
        if self.is_recorded:
            self._number = changes.write("req_1", PATH, b"{}", 10)

    def unrecord(self) -> None:
        """Write it down."""
        self.seen.append("unrecorded")

    def completed(self, version: Version, completion: Completion) -> None:
        """Write it down."""
        self.seen.append(f"completed {version}")

    def continued(self, version: Version, choices: int) -> None:
        """Write it down."""
        self.seen.append(f"continued {choices}")

    def missed(self, version: Version) -> None:
        """Write it down."""
        self.seen.append(f"missed {version}")

    def ignored(self, fields: Sequence[str]) -> None:
        """Write it down."""
        self.seen.append(f"ignored {', '.join(fields)}")

    def close(self) -> None:
        """Close the entry, once."""
        if "closed" not in self.seen:
            self.seen.append("closed")
            if self.is_recorded:
                with self._ledger.transaction() as changes:
                    changes.rewrite(self._number, "req_1", PATH, b"{}")


class Caller:
    """A client that leaves when it is told to."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()
        self.was_cut = self.was_drained = False

    async def gone(self) -> None:
        """Return when the client has left."""
        await self.leaves.wait()

    async def drain(self) -> None:
        """Note it."""
        self.was_drained = True

    async def hang_up(self) -> None:
        """Note it."""
        assert self.was_drained
        self.was_cut = True


def reading(body: bytes | RequestError) -> Read:
    """A body that is there at once."""

    async def read() -> bytes | RequestError:
        return body

    return read


class Setup:
    """A gateway and an endpoint for chats, whose engine answers with what it is given."""

    def __init__(
        self,
        answer: Any = COMPLETION,
        faults: FaultOptions = NO_FAULTS,
        limits: LimitOptions = NO_LIMITS,
        pace: PaceOptions = AT_ONCE,
        places: int = 1,
    ) -> None:
        self.ledger = CountedLedger()
        self.places = ConcurrencyLimit(places)
        keys = Keys((), BruteForceGuard(self.ledger))
        self.gateway = Gateway(self.ledger, keys, RateLimiter(limits), FaultInjector(faults), self.places, pace)
        self.asked: list[CompletionRequest] = []
        self._answer = answer
        self.endpoint = Endpoint(PATH, ChatWire(CompletionOptions()), self.answer, EVERYTHING)
        self.caller = Caller()
        self.watcher = Watcher(self.ledger)

    async def answer(self, request: CompletionRequest) -> Any:
        """The engine."""
        self.asked.append(request)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def context(self, overrides: Overrides = NO_OVERRIDES) -> RequestContext:
        """A new request."""
        return RequestContext(self.gateway, self.caller, self.watcher, "sk-one", overrides=overrides)

    async def ask(self, body: bytes | RequestError = CHAT, overrides: Overrides = NO_OVERRIDES) -> Reply:
        """A request from its beginning to the end of its reply."""
        async with self.context(overrides) as context:
            reply = await handle(self.endpoint, reading(body), context)
            if not isinstance(reply.body, bytes):
                pieces = [piece async for piece in context.keep_body(reply.body)]
                reply = msgspec.structs.replace(reply, body=b"".join(pieces))
            context.end()
            return reply


def error_of(reply: Reply) -> dict[str, Any]:
    """The error in a reply."""
    assert isinstance(reply.body, bytes)
    error: dict[str, Any] = msgspec.json.decode(reply.body)["error"]
    return error


async def test_limits_come_before_faults_and_these_before_the_body() -> None:
    """A request that is refused by a limit gets no fault, and one that gets a fault need not be valid."""
    setup = Setup(faults=FaultOptions(parse_chances("100% status=418")), limits=LimitOptions(rpm=2))
    broken = RequestError(413, "too large", code="request_too_large")
    with setup.ledger:
        assert [(await setup.ask(body)).status for body in (CHAT, b"not json", broken, CHAT)] == [418, 418, 429, 429]
    assert setup.asked == []
    assert setup.watcher.seen == ["closed"]


async def test_a_body_that_cannot_be_read_counts_as_a_request() -> None:
    """It is told once it was admitted, with the headers of the limit."""
    setup = Setup(limits=LimitOptions(rpm=1))
    with setup.ledger:
        async with setup.context() as context:
            reply = await handle(setup.endpoint, reading(RequestError(415, "no", code="unsupported_encoding")), context)
            assert (reply.status, error_of(reply)["code"]) == (415, "unsupported_encoding")
            assert context.headers["x-ratelimit-remaining-requests"] == "0"
        assert (await setup.ask()).status == 429


@pytest.mark.parametrize(
    ("limits", "faults", "is_recorded", "transactions"),
    [
        (NO_LIMITS, NO_FAULTS, False, 0),
        (NO_LIMITS, FaultOptions(parse_chances("1% empty")), False, 0),
        (NO_LIMITS, FaultOptions(parse_chances("0% empty"), seed=1), False, 1),
        (NO_LIMITS, NO_FAULTS, True, 2),
        (LimitOptions(rpm=9), NO_FAULTS, False, 1),
        (LimitOptions(tpm=99), NO_FAULTS, False, 2),
        (LimitOptions(rpm=9, tpm=99), FaultOptions(parse_chances("0% empty"), seed=1), True, 3),
    ],
)
@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_the_ledger_is_asked_three_times_at_most(
    limits: LimitOptions, faults: FaultOptions, is_recorded: bool, transactions: int, body: bytes
) -> None:
    """To admit, to charge and to close; not at all where nothing needs it."""
    setup = Setup(limits=limits, faults=faults)
    setup.watcher.is_recorded = is_recorded
    with setup.ledger:
        assert (await setup.ask(body)).status == 200
    assert setup.ledger.transactions == transactions


async def test_a_ledger_that_is_away_refuses_only_what_needs_it() -> None:
    """A limit cannot be kept then, and is a 503; a journal goes on without the entry."""
    limited = Setup(limits=LimitOptions(rpm=9))
    limited.ledger.fails = True
    reply = await limited.ask()
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    recorded = Setup()
    recorded.ledger.fails = True
    recorded.watcher.is_recorded = True
    async with recorded.context() as context:
        assert (await handle(recorded.endpoint, reading(CHAT), context)).status == 200


@pytest.mark.parametrize(
    ("answer", "status", "code", "seen"),
    [
        (COMPLETION, 200, None, ["completed v2", "closed"]),
        (NoCompletion(), 404, "completion_not_found", ["missed v2", "closed"]),
        (StoreUnavailable("no way to /a/path"), 503, "store_unavailable", ["closed"]),
        (ZeroDivisionError("a bug"), 500, None, ["closed"]),
    ],
)
async def test_what_an_engine_raises_becomes_an_error_of_the_wire(
    answer: Any, status: int, code: str | None, seen: list[str]
) -> None:
    """The observer sees results and misses; paths and bugs stay inside; the place is free again."""
    setup = Setup(answer)
    for _ in range(3):
        reply = await setup.ask()
        assert reply.status == status
        assert b"/a/path" not in reply.body  # type: ignore[operator] # it is whole
        if status != 200:
            assert error_of(reply)["code"] == code
    assert [line for line in setup.watcher.seen if line != "closed"] == 3 * seen[:-1]


async def test_what_an_error_knows_is_noted() -> None:
    """The model and the version of a request that is refused, as far as it was read."""
    setup = Setup()
    nothing = b'{"model": "mimic-v1", "messages": [{"role": "user", "content": null}]}'
    async with setup.context() as context:
        assert (await handle(setup.endpoint, reading(nothing), context)).status == 400
        assert (context.known.model, context.known.version) == ("mimic-v1", "v1")
    async with setup.context(Overrides(match="no rung")) as context:
        assert (await handle(setup.endpoint, reading(CHAT), context)).status == 400
        assert (context.known.model, context.known.version) == ("mimic-v2", None)


async def test_a_place_is_free_again_whatever_happened() -> None:
    """After an answer, a cancellation while it was waited for, and a client that left."""
    setup = Setup(pace=PaceOptions("slow-reasoning"))
    waiting = asyncio.create_task(setup.ask())
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    left = asyncio.create_task(setup.ask())
    await asyncio.sleep(0.05)
    setup.caller.leaves.set()
    assert (await left).status == 499
    quick = Overrides(pace="instant")
    assert [(await setup.ask(body, quick)).status for body in (CHAT, STREAM, CHAT)] == [200] * 3
    assert await asyncio.wait_for(setup.places.take(), 5) == 1


async def test_who_waits_for_a_place_holds_none() -> None:
    """One that is cancelled while it waits takes nothing away from the next one."""
    setup = Setup()
    assert await setup.places.take() == 1
    waiting = asyncio.create_task(setup.ask())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    setup.places.give_back()
    assert (await asyncio.wait_for(setup.ask(), 5)).status == 200


async def test_who_leaves_while_waiting_for_a_place_is_not_answered() -> None:
    """Noticed at once: no engine is asked, nothing is charged, and the next one in line is served."""
    setup = Setup(limits=LimitOptions(tpm=100))
    with setup.ledger:
        assert await setup.places.take() == 1
        leaving = asyncio.create_task(setup.ask())
        await asyncio.sleep(0.05)
        setup.caller.leaves.set()
        reply = await asyncio.wait_for(leaving, 5)
        assert (reply.status, setup.asked) == (499, [])
        setup.caller.leaves.clear()
        waiting = asyncio.create_task(setup.ask())
        await asyncio.sleep(0.05)
        setup.places.give_back()
        assert (await asyncio.wait_for(waiting, 5)).status == 200
    assert await asyncio.wait_for(setup.places.take(), 5) == 1


async def test_an_upload_holds_no_place_and_comes_after_the_limits() -> None:
    """Another request is answered meanwhile; one beyond the limit is refused without its body."""
    setup = Setup(limits=LimitOptions(rpm=2))
    arrived = asyncio.Event()

    async def slow() -> bytes:
        await arrived.wait()
        return CHAT

    async def never() -> bytes:
        raise AssertionError("the body is not wanted")

    with setup.ledger:
        async with setup.context() as context:
            uploading = asyncio.create_task(handle(setup.endpoint, slow, context))
            await asyncio.sleep(0.05)
            assert (await asyncio.wait_for(setup.ask(), 5)).status == 200
            async with setup.context() as other:
                assert (await handle(setup.endpoint, never, other)).status == 429
            arrived.set()
            assert (await asyncio.wait_for(uploading, 5)).status == 200


async def test_a_body_that_cannot_be_read_waits_for_no_place() -> None:
    """There is nothing to wait for."""
    setup = Setup()
    assert await setup.places.take() == 1
    broken = RequestError(413, "too large", code="request_too_large")
    assert (await asyncio.wait_for(setup.ask(broken), 5)).status == 413


async def test_a_whole_answer_gives_its_place_back_before_its_last_byte() -> None:
    """Whoever has that byte may ask next, and is not to wait for itself."""
    setup = Setup()
    async with setup.context() as context:
        await handle(setup.endpoint, reading(CHAT), context)
        context.end()
        assert await asyncio.wait_for(setup.places.take(), 5) == 1
        setup.places.give_back()
    assert await asyncio.wait_for(setup.places.take(), 5) == 1


async def test_a_stream_that_is_not_read_to_its_end_is_closed() -> None:
    """With its context, and what is behind it with it."""
    setup = Setup(pace=PaceOptions("slow-reasoning"))
    closed: list[str] = []

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            yield b"never"
        finally:
            closed.append("closed")

    async with setup.context() as context:
        async for _ in context.keep_body(body()):
            break
        assert closed == []
    assert closed == ["closed"]


@pytest.mark.parametrize("body", [CHAT, STREAM, b"not json"])
async def test_a_cut_before_anything_is_no_reply(body: bytes) -> None:
    """The client is cut off, the record is closed before, and no engine is asked."""
    setup = Setup()
    with pytest.raises(HungUp):
        await setup.ask(body, Overrides(fault="disconnect"))
    assert (setup.caller.was_cut, setup.watcher.seen, setup.asked) == (True, ["closed"], [])


async def test_the_fault_empty_says_nothing_and_charges_for_nothing() -> None:
    """The prompt still counts."""
    setup = Setup(limits=LimitOptions(tpm=100))
    with setup.ledger:
        async with setup.context(Overrides(fault="empty")) as context:
            reply = await handle(setup.endpoint, reading(CHAT), context)
            assert context.usage == Usage(8, 0)
            assert context.headers["x-ratelimit-remaining-tokens"] == "92"
    assert isinstance(reply.body, bytes)
    assert msgspec.json.decode(reply.body)["choices"][0]["message"]["content"] == ""


async def test_continuations_are_counted_as_they_are_sent() -> None:
    """The first batch at once, each of the others when it is asked for."""

    async def rest() -> Any:
        yield [1, 2]
        yield [3]

    setup = Setup(Continuations(Batches([0], rest())))  # type: ignore[list-item] # they are only counted
    async with setup.context() as context:
        context.known.version = "v2"
        counted = await setup.answer(None)  # type: ignore[arg-type] # it does not look
        from mimic.gateway.handle import _observe  # noqa: PLC0415 - the inside is the fact to prove

        batches = _observe(None, counted, context).batches
        assert setup.watcher.seen == ["continued 1"]
        assert [batch async for batch in batches.rest] == [[1, 2], [3]]
        assert setup.watcher.seen == ["continued 1", "continued 2", "continued 1"]
