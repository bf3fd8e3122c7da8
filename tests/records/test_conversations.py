"""Conversations in records: they do not expire, the bounds remove them whole, and a deletion leaves no item."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress

import pytest

from mimic.errors import RequestError
from mimic.records.base import Draft, RecordOptions, Records
from mimic.stored.conversations import ITEM_KIND, KIND, ConversationStore
from tests.support.records import BACKENDS, open_now, url_of

pytestmark = pytest.mark.anyio

ITEMS = [{"type": "message", "role": "user", "content": f"number {number}"} for number in range(3)]


@pytest.fixture(params=BACKENDS)
async def open_records(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Records]]:
    """A function that opens empty records with some options."""
    url = url_of(request.param, request)
    async with AsyncExitStack() as stack:
        opened = []

        def open_one(**options: float) -> Records:
            opened.append(open_now(url, RecordOptions(**options)))  # type: ignore[arg-type]
            stack.push_async_exit(opened[-1])
            return opened[-1]

        yield open_one


async def test_conversations_do_not_expire(open_records: Callable[..., Records]) -> None:
    """The days of other records do not concern them and their items."""
    records = open_records(retention=-1.0)
    conversations = ConversationStore(records)
    made = await conversations.create(ITEMS, {}, "me", 0)
    await conversations.add(made.id, "me", ITEMS)
    await records.put(Draft(kind="a", id="1"))
    assert await records.get("a", "1", None) is None
    await records.sweep()
    assert len(await conversations.all_items(made.id, "me")) == 2 * len(ITEMS)


async def test_the_bounds_remove_a_conversation_before_its_items(open_records: Callable[..., Records]) -> None:
    """A conversation that is found has all of its items."""
    conversations = ConversationStore(open_records(most=6))
    made = []
    for _ in range(4):
        made.append((await conversations.create(ITEMS, {}, "me", 0)).id)
        await asyncio.sleep(0.002)  # MongoDB's clock has milliseconds
        found = 0
        for one in made:
            with suppress(RequestError):
                assert len(await conversations.all_items(one, "me")) == len(ITEMS)
                found += 1
        assert found == 1


async def test_a_deletion_leaves_no_item(open_records: Callable[..., Records]) -> None:
    """No item stays, also if other processes append items meanwhile, some of which are refused."""
    records = open_records()
    processes = [ConversationStore(records), *(ConversationStore(open_records()) for _ in range(2))]
    for _ in range(5):
        made = await processes[0].create(ITEMS, {}, "me", 0)
        appends = [process.add(made.id, "me", ITEMS) for process in processes * 2]
        answers = await asyncio.gather(*appends, processes[1].delete(made.id, "me"), return_exceptions=True)
        assert {type(answer) for answer in answers if isinstance(answer, BaseException)} <= {RequestError}
        assert not {KIND, ITEM_KIND} & set(await records.sizes())
        await processes[2].append(made.id, "me", [{**ITEMS[0], "id": "msg_1"}])
        assert await records.get(ITEM_KIND, "msg_1", None) is None
