"""Runs in records, on each backend: one at a time on a thread, one outcome each, and a message before the end shows."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import pytest

from mimic.errors import RecordChanged, RequestError
from mimic.records.base import Record, RecordOptions, Records
from mimic.stored.assistants import AssistantStore
from mimic.stored.conversations import ConversationStore
from mimic.stored.run_state import KIND, RunView, StoredRun, Turn
from mimic.stored.runs import RunStore
from mimic.stored.threads import THREADS, ThreadStore
from mimic.wire.openai.assistants.objects import NewMessage
from mimic.wire.openai.assistants.threads import NewThread
from mimic.wire.openai.base import Names
from tests.support.records import BACKENDS, open_now, url_of
from tests.unit.stored.test_run_state import CALL, RUN, answer

pytestmark = pytest.mark.anyio

ME: Final = "me"


@pytest.fixture(params=BACKENDS)
async def records(request: pytest.FixtureRequest) -> AsyncIterator[Records]:
    """Empty records."""
    async with open_now(url_of(request.param, request), RecordOptions()) as opened:
        yield opened


class Talk:
    """A thread with a message, and its stores."""

    def __init__(self, records: Records, seconds_to_lock: float = 0.0) -> None:
        self.records = records
        self.conversations = ConversationStore(records, THREADS)
        self.runs = RunStore(records, self.conversations, AssistantStore(records, Names(), {}), seconds_to_lock)
        self.threads = ThreadStore(self.conversations, self.runs)
        self.id = ""

    async def open(self) -> "Talk":
        """Create the thread."""
        message = NewMessage(role="user", content="hi")
        self.id = (await self.threads.create(NewThread(messages=[message]), ME)).id
        return self

    async def begin(self, number: int = 1, **fields: Any) -> Record:
        """Begin a run."""
        run = msgspec.structs.replace(RUN, id=f"run_{number}", thread_id=self.id)
        turn = Turn(0.0, answer(number=number, **{"text": "hello", "timing": None, **fields}))
        return await self.runs.begin(StoredRun(run=run, turns=[turn]), None, ME)

    async def texts(self) -> list[str]:
        """The texts of the thread, as they are stored."""
        page = await self.threads.messages(self.id, ME, 100, None, None, "asc", None, "v2")
        return [one["content"][0]["text"]["value"] for one in page.data]


@pytest.fixture
async def talk(records: Records) -> Talk:
    """A thread with a message."""
    return await Talk(records).open()


async def test_one_of_many_runs_is_accepted(talk: Talk) -> None:
    """Runs that begin at the same time lock their thread once; refused ones are not stored."""
    found = await asyncio.gather(*[talk.begin(n, calls=[CALL]) for n in range(8)], return_exceptions=True)
    [begun] = [one for one in found if isinstance(one, Record)]
    assert {str(one) for one in found if one is not begun} == {
        f"Thread {talk.id} already has an active run {begun.id}."
    }
    page = await talk.runs.page(talk.id, ME, 100, None, None, "asc", "v2")
    assert [one["id"] for one in page.data] == [begun.id]


async def test_a_run_is_not_due_before_it_has_its_thread(records: Records) -> None:
    """A process that looks for jobs at once finds none: it would finish a run that is refused."""
    talk = await Talk(records, seconds_to_lock=60.0).open()
    await talk.begin()
    assert await records.claim([KIND], 60.0) is None
    assert await talk.texts() == ["hi", "hello"]


async def test_a_run_that_is_over_frees_its_thread(talk: Talk) -> None:
    """The next run begins although nothing has finished the last one, whose message comes first."""
    await talk.begin(1)
    await talk.begin(2, text="bye")
    assert await talk.texts() == ["hi", "hello", "bye"]
    await talk.threads.add(talk.id, NewMessage(role="user", content="more"), ME)
    assert await talk.texts() == ["hi", "hello", "bye", "more"]


async def test_a_run_is_finished_once(talk: Talk) -> None:
    """A claim, a reader and a repeated claim finish a run together, and its message is there once."""
    record = await talk.begin()
    claim = await talk.records.claim([KIND], 60.0)
    assert claim
    run, left = await talk.runs.get(talk.id, record.id, ME)
    assert (run.status, left) == ("completed", None)
    with pytest.raises(RecordChanged):
        await talk.runs.finish(claim)
    assert await talk.texts() == ["hi", "hello"]
    assert await talk.records.claim([KIND], 60.0) is None


async def test_an_interrupted_end_is_repeated(talk: Talk) -> None:
    """A process that dies after it added the message leaves a job, and the next one writes the outcome."""
    record = await talk.begin()
    claim = await talk.records.claim([KIND], 60.0)
    assert claim
    await talk.records.release(claim.lease)
    item = RunView.of(claim.record).message()
    assert item
    for _ in range(2):
        await talk.conversations.append(talk.id, ME, [item])
    last = await talk.records.claim([KIND], 60.0)
    assert last
    await talk.runs.finish(last)
    found = await talk.records.get(KIND, record.id, None)
    assert found
    assert (found.state, found.due) == ("completed", None)
    assert await talk.texts() == ["hi", "hello"]


async def test_outputs_count_once(talk: Talk) -> None:
    """Of outputs that come several times at once, the first continues the run."""
    record = await talk.begin(calls=[CALL])
    run = msgspec.structs.replace(RUN, id=record.id, thread_id=talk.id)
    turns = [Turn(0.0, answer(f"answer {n}", number=n + 10, timing=None)) for n in range(4)]
    found = await asyncio.gather(
        *[talk.runs.proceed(run, turn, {"call_1": "x"}, ME) for turn in turns], return_exceptions=True
    )
    assert len([one for one in found if isinstance(one, Record)]) == 1
    assert {type(one) for one in found} == {Record, RequestError}
    assert len(await talk.texts()) == 2


async def test_a_cancelled_run_stays_cancelled(talk: Talk) -> None:
    """A claim before the cancellation cannot finish the run, and the thread is free."""
    record = await talk.begin(calls=[CALL])
    assert (await talk.runs.cancel(talk.id, record.id, ME)).status == "cancelling"
    assert (await talk.runs.get(talk.id, record.id, ME))[0].status == "cancelled"
    assert await talk.runs.settle(talk.id, ME) == ""
    with pytest.raises(RequestError, match="Cannot cancel run with status 'cancelled'"):
        await talk.runs.cancel(talk.id, record.id, ME)
    with pytest.raises(RequestError, match='Runs in status "cancelled"'):
        await talk.runs.proceed(
            msgspec.structs.replace(RUN, id=record.id, thread_id=talk.id), Turn(0.0, answer("x", 9)), {}, ME
        )
    await talk.begin(2)


async def test_a_deleted_thread_leaves_nothing(talk: Talk) -> None:
    """Messages and runs go with their thread, also a run that works."""
    await talk.begin(calls=[CALL])
    await talk.threads.delete(talk.id, ME)
    assert not {kind: one for kind, one in (await talk.records.sizes()).items() if kind != "assistant"}
