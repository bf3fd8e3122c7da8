"""A single request through ``handle``: the order of steps, the transactions of the ledger, and cleanup."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
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
    """A ledger that counts its transactions, and can fail on demand."""

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
    """An observer that logs its calls, and is recorded in the journal on demand."""

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
        """Log the call."""
        self.seen.append("unrecorded")

    def completed(self, version: Version, completion: Completion) -> None:
        """Log the call."""
        self.seen.append(f"completed {version}")

    def continued(self, version: Version, choices: int) -> None:
        """Log the call."""
        self.seen.append(f"continued {choices}")

    def missed(self, version: Version) -> None:
        """Log the call."""
        self.seen.append(f"missed {version}")

    def ignored(self, fields: Sequence[str]) -> None:
        """Log the call."""
        self.seen.append(f"ignored {', '.join(fields)}")

    def close(self) -> None:
        """Close the entry, once."""
        if "closed" not in self.seen:
            self.seen.append("closed")
            if self.is_recorded:
                with self._ledger.transaction() as changes:
                    changes.rewrite(self._number, "req_1", PATH, b"{}")


class Caller:
    """A client that leaves on demand."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()
        self.was_cut = self.was_drained = False

    def headers(self) -> Iterable[tuple[bytes, bytes]]:
        """None."""
        return ()

    async def gone(self) -> None:
        """Return when the client has left."""
        await self.leaves.wait()

    async def drain(self) -> None:
        """Log the call."""
        self.was_drained = True

    async def hang_up(self) -> None:
        """Log the call."""
        assert self.was_drained
        self.was_cut = True


def reading(body: bytes | RequestError) -> Read:
    """A body that is complete at once."""

    async def read() -> bytes | RequestError:
        return body

    return read


class Setup:
    """A gateway and an endpoint for chats, with a given engine."""

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
        """The request from its beginning to the end of its reply."""
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
    """A request refused by a limit gets no fault, and a request with a fault need not be valid."""
    setup = Setup(faults=FaultOptions(parse_chances("100% status=418")), limits=LimitOptions(rpm=2))
    broken = RequestError(413, "too large", code="request_too_large")
    with setup.ledger:
        assert [(await setup.ask(body)).status for body in (CHAT, b"not json", broken, CHAT)] == [418, 418, 429, 429]
    assert setup.asked == []
    assert setup.watcher.seen == ["closed"]


async def test_a_body_that_cannot_be_read_counts_as_a_request() -> None:
    """The error comes after admission, with the headers of the limit."""
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
    """The ledger is used to admit, to charge and to close, and not at all if nothing needs it."""
    setup = Setup(limits=limits, faults=faults)
    setup.watcher.is_recorded = is_recorded
    with setup.ledger:
        assert (await setup.ask(body)).status == 200
    assert setup.ledger.transactions == transactions


async def test_an_unavailable_ledger_fails_only_limits() -> None:
    """With an unavailable ledger a limit is a 503, and a journal lacks the entry."""
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
async def test_an_engine_error_becomes_an_error_of_the_wire(
    answer: Any, status: int, code: str | None, seen: list[str]
) -> None:
    """The observer gets results and misses; paths and bugs do not leak; the place is free again."""
    setup = Setup(answer)
    for _ in range(3):
        reply = await setup.ask()
        assert reply.status == status
        assert b"/a/path" not in reply.body  # type: ignore[operator] # the answer is whole
        if status != 200:
            assert error_of(reply)["code"] == code
    assert [line for line in setup.watcher.seen if line != "closed"] == 3 * seen[:-1]


async def test_details_of_an_error_are_recorded() -> None:
    """A refused request has its model and version, as far as it was read."""
    setup = Setup()
    nothing = b'{"model": "mimic-v1", "messages": [{"role": "user", "content": null}]}'
    async with setup.context() as context:
        assert (await handle(setup.endpoint, reading(nothing), context)).status == 400
        assert (context.known.model, context.known.version) == ("mimic-v1", "v1")
    async with setup.context(Overrides(match="no rung")) as context:
        assert (await handle(setup.endpoint, reading(CHAT), context)).status == 400
        assert (context.known.model, context.known.version) == ("mimic-v2", None)


async def test_a_place_is_free_again_whatever_happened() -> None:
    """The place is free after an answer, after a cancelled wait, and after a client left."""
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


async def test_a_waiting_request_holds_no_place() -> None:
    """A request cancelled in the queue takes no place from the next one."""
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


async def test_a_client_that_leaves_the_queue_is_not_answered() -> None:
    """The engine is not called, nothing is charged, and the next request in line is served."""
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
    """Another request is answered during an upload; a request beyond the limit is refused without its body."""
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
    """A request without a readable body is answered without a place."""
    setup = Setup()
    assert await setup.places.take() == 1
    broken = RequestError(413, "too large", code="request_too_large")
    assert (await asyncio.wait_for(setup.ask(broken), 5)).status == 413


async def test_a_whole_answer_gives_its_place_back_before_its_last_byte() -> None:
    """A client with the last byte may send its next request at once."""
    setup = Setup()
    async with setup.context() as context:
        await handle(setup.endpoint, reading(CHAT), context)
        context.end()
        assert await asyncio.wait_for(setup.places.take(), 5) == 1
        setup.places.give_back()
    assert await asyncio.wait_for(setup.places.take(), 5) == 1


async def test_a_stream_that_is_not_read_to_its_end_is_closed() -> None:
    """Closing a stream closes its context and its source."""
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
    """The connection is cut after the record is closed, and no engine is called."""
    setup = Setup()
    with pytest.raises(HungUp):
        await setup.ask(body, Overrides(fault="disconnect"))
    assert (setup.caller.was_cut, setup.watcher.seen, setup.asked) == (True, ["closed"], [])


async def test_the_fault_empty_says_nothing_and_charges_for_nothing() -> None:
    """The prompt is charged, but no answer."""
    setup = Setup(limits=LimitOptions(tpm=100))
    with setup.ledger:
        async with setup.context(Overrides(fault="empty")) as context:
            reply = await handle(setup.endpoint, reading(CHAT), context)
            assert context.usage == Usage(8, 0)
            assert context.headers["x-ratelimit-remaining-tokens"] == "92"
    assert isinstance(reply.body, bytes)
    assert msgspec.json.decode(reply.body)["choices"][0]["message"]["content"] == ""


async def test_continuations_are_counted_as_they_are_sent() -> None:
    """The first batch is read at once, each further one on demand."""

    async def rest() -> Any:
        yield [1, 2]
        yield [3]

    setup = Setup(Continuations(Batches([0], rest())))  # type: ignore[list-item] # they are only counted
    async with setup.context() as context:
        context.known.version = "v2"
        counted = await setup.answer(None)  # type: ignore[arg-type] # not read
        from mimic.gateway.handle import _observe  # noqa: PLC0415 - a test of internals

        batches = _observe(None, counted, context).batches
        assert setup.watcher.seen == ["continued 1"]
        assert [batch async for batch in batches.rest] == [[1, 2], [3]]
        assert setup.watcher.seen == ["continued 1", "continued 2", "continued 1"]
