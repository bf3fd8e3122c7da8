"""Deliveries of webhooks on both stores: workers that die or fall behind, the end of all attempts, and the bounds."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from mimic.engine.base import Usage
from mimic.errors import LeaseLost
from mimic.jobs.posting import Poster
from mimic.jobs.runner import Runner
from mimic.jobs.webhooks import WebhookSender
from mimic.records.base import Claim, Draft, RecordOptions, Records, new_id
from mimic.stored.conversations import ConversationStore
from mimic.stored.response_state import KIND as RESPONSE
from mimic.stored.response_state import QUEUED, StoredResponse, written
from mimic.stored.responses import ResponseStore
from mimic.stored.webhook_deliveries import KIND as DELIVERY
from mimic.stored.webhook_deliveries import DeliveryStore, pause_after, stored_in
from mimic.stored.webhook_endpoints import KIND as ENDPOINT
from mimic.stored.webhook_endpoints import EndpointStore
from mimic.stored.webhook_targets import TargetGuard, TargetPolicy, WebhookOptions
from mimic.wire.openai.responses.answer import ResponseObject
from mimic.wire.openai.webhook_secrets import new_secret, parse_secret
from mimic.wire.openai.webhooks import WebhookEvent
from tests.support.receiver import Receiver, receiver
from tests.support.records import BACKENDS, open_now, url_of

pytestmark = pytest.mark.anyio

EVENT = WebhookEvent.of("response.completed", "resp_1", 1_700_000_000)


@pytest.fixture(scope="module")
def hooks() -> Iterator[Receiver]:
    """A receiver for all tests."""
    with receiver() as found:
        yield found


@pytest.fixture(params=BACKENDS)
async def records(request: pytest.FixtureRequest) -> AsyncIterator[Records]:
    """Empty records on each backend."""
    async with open_now(url_of(request.param, request)) as records:
        yield records


class Worker:
    """The parts of a server that work on responses and deliveries, with a target in its settings."""

    def __init__(self, records: Records, url: str, *, seconds: int = 600, timeout: float = 10) -> None:
        guard = TargetGuard(TargetPolicy(allows_loopback=True))
        options = WebhookOptions([url], new_secret(), seconds)
        self.endpoints = EndpointStore(records, guard)
        self.deliveries = DeliveryStore(records, self.endpoints, 1, seconds)
        self.sender = WebhookSender(self.endpoints, self.deliveries, Poster(guard, timeout), options)
        self.responses = ResponseStore(records, ConversationStore(records), self.deliveries)
        works = {RESPONSE: self.responses.finish}
        self.runner = Runner(records, works, {DELIVERY: self.sender.deliver}, interval=0.05)


async def ask(records: Records) -> str:
    """The id of a response in the background that is due."""
    response_id = new_id("resp")
    stored = StoredResponse(
        response=ResponseObject(id=response_id, created_at=1_700_000_000, model="m", background=True),
        items=(),
        ancestors=(),
        text="hello",
        tokens=[24912],
        calls=(),
        finish_reason="stop",
        usage=Usage(8, 1),
    )
    await records.put(Draft(kind=RESPONSE, id=response_id, state=QUEUED, data=written(stored), due=0))
    return response_id


async def claimed(records: Records, kind: str, seconds: float = 60) -> Claim:
    """The claim of the job of a kind, as soon as it is free."""
    async with asyncio.timeout(30):
        while not (claim := await records.claim([kind], seconds)):
            await asyncio.sleep(0.02)
        return claim


async def received(hooks: Receiver, path: str, number: int = 1) -> list[str]:
    """The ids of the messages to a path, once there is a number of them."""
    return [one.headers["webhook-id"] for one in await asyncio.to_thread(hooks.wait, path, number)]


class Killed(BaseException):
    """The end of a worker in the middle of its work."""


async def test_a_worker_that_dies_after_the_outcome(
    records: Records, hooks: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of the response holds its outcome and that its event is due; another worker announces it, once."""
    worker = Worker(records, f"{hooks.url}/ok/outcome-{new_id('test')}")

    async def die(*_: object) -> None:
        raise Killed

    response_id = await ask(records)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(worker.deliveries, "announce", die)
        await worker.responses.finish(await claimed(records, RESPONSE, 0.05))
    between = await records.get(RESPONSE, response_id, None)
    assert between
    assert (between.state, between.is_finished) == ("completed", False)
    assert (await records.browse(DELIVERY)) == []
    claim = await claimed(records, RESPONSE, 0.05)
    await worker.deliveries.announce(WebhookEvent.of("response.completed", response_id, 0), "")  # and died again
    await worker.responses.finish(claim)
    after = await records.get(RESPONSE, response_id, None)
    assert after
    assert after.is_finished
    assert len(await records.browse(DELIVERY)) == 1


async def test_a_worker_that_falls_behind(records: Records, hooks: Receiver) -> None:
    """A worker that loses its lease while it waits writes nothing; the event is the same for both."""
    path = f"/hang/{new_id('test')}"
    slow = Worker(records, f"{hooks.url}{path}", timeout=1)
    await slow.deliveries.announce(EVENT, "")
    late = asyncio.create_task(slow.sender.deliver(await claimed(records, DELIVERY, 0.05)))
    await received(hooks, path)
    quick = Worker(records, f"{hooks.url}/ok/behind")
    await quick.sender.deliver(await claimed(records, DELIVERY))
    with pytest.raises(LeaseLost):
        await late
    [listed] = (await quick.deliveries.page("", 20, None, "asc")).data
    assert (listed["status"], listed["tries"]) == ("delivered", 1)
    assert (await received(hooks, path)) == [listed["id"]]


@asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    """Workers whose runners look for jobs."""
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker.runner)
        yield


async def test_one_worker_at_a_time(records: Records, hooks: Receiver) -> None:
    """Several workers finish many responses, and each event arrives once."""
    path = f"/ok/many-{new_id('test')}"
    workers = [Worker(records, f"{hooks.url}{path}") for _ in range(3)]
    responses = {await ask(records) for _ in range(16)}
    async with running(*workers):
        found = await asyncio.to_thread(hooks.wait, path, len(responses))
        async with asyncio.timeout(30):
            while any(size.jobs for size in (await records.sizes()).values()):
                await asyncio.sleep(0.05)
    assert len(hooks.all(path)) == len(responses)
    assert {one for one in responses if any(one.encode() in message.body for message in found)} == responses


async def test_a_worker_ends_after_its_attempt(records: Records, hooks: Receiver) -> None:
    """A server that ends waits for an attempt that is soon over, and writes its outcome."""
    path = f"/hang/{new_id('test')}"
    worker = Worker(records, f"{hooks.url}{path}", timeout=0.5)
    await worker.deliveries.announce(EVENT, "")
    async with running(worker):
        await received(hooks, path)
    [listed] = (await worker.deliveries.page("", 20, None, "asc")).data
    assert {one["error"] for one in listed["attempts"]} == {"timeout"}  # beside other load there is a second one


async def test_attempts_end(records: Records, hooks: Receiver) -> None:
    """A delivery fails when the pauses exceed the window; it keeps the newest attempts, and is listed for a day."""
    worker = Worker(records, f"{hooks.url}/status/503", seconds=0)
    await worker.deliveries.announce(EVENT, "")
    before = await claimed(records, DELIVERY)
    await worker.sender.deliver(before)
    assert await records.claim([DELIVERY], 60) is None
    record = await records.get(DELIVERY, before.record.id, None)
    assert record
    assert (record.state, record.is_finished) == ("failed", True)
    assert record.expires
    assert 86_000 < record.expires - record.created < 87_000
    [attempt] = stored_in(record).attempts
    assert (attempt.status_code, attempt.error) == (503, None)


def test_pauses_grow() -> None:
    """Pauses double up to an hour; with the default window there are ten attempts, and 83 in three days."""
    pauses = [pause_after(tries, 600) for tries in range(1, 12)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, None, None]
    long = [pause_after(tries, 259_200) for tries in range(1, 100)]
    assert long.count(None) == 99 - 82
    assert max(pause or 0 for pause in long) == 3_600


async def test_the_bounds_keep_endpoints(request: pytest.FixtureRequest) -> None:
    """An endpoint is older than many records, and is not removed with them."""
    for backend in BACKENDS:
        async with open_now(url_of(backend, request), RecordOptions(most=5)) as records:
            endpoints = Worker(records, "https://a.example").endpoints
            made = await endpoints.create("", "a", "https://8.8.8.8", ["response.completed"], 0)
            for number in range(20):
                await records.put(Draft(kind="response", id=str(number)))
            await records.sweep()
            assert (await endpoints.get(made.id, "")).name == "a"
            assert len(await records.browse(ENDPOINT)) == 1
            assert await records.claim([ENDPOINT, DELIVERY], 60) is None


@pytest.mark.parametrize(
    "text", ["", "secret", "whsec_", "whsec_????", "whsec_" + "A" * 28, "whsec_" + "A" * 88, "A" * 44]
)
def test_an_invalid_secret(text: str) -> None:
    """The error shows the form of a secret, and a command that makes one."""
    with pytest.raises(ValueError, match=r"^expected whsec_ and 24 to 64 bytes in base64, .*openssl rand"):
        parse_secret(text)
    for size in (24, 64):
        assert parse_secret("whsec_" + base64.b64encode(bytes(size)).decode())
