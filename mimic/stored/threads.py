"""The store of threads and their messages: a thread is a conversation, and a message is an item."""

from collections.abc import Sequence
from typing import Any, Final

from mimic.errors import RequestError
from mimic.records.base import Order, new_id
from mimic.stored.conversations import ConversationKind, ConversationStore, StoredConversation
from mimic.stored.pages import ObjectPage, page_of
from mimic.stored.runs import RunStore
from mimic.wire.openai.assistants.beta import Beta, shown
from mimic.wire.openai.assistants.objects import MessageObject, NewMessage, ThreadObject, known_resources, message_of
from mimic.wire.openai.assistants.threads import NewThread
from mimic.wire.openai.base import created_now
from mimic.wire.openai.responses.items import RawItem

THREADS: Final = ConversationKind(
    kind="thread",
    item_kind="thread_message",
    prefix="thread",
    name="Threads",
    missing="No thread found with id '{}'.",
    missing_item="No message found with id '{}'.",
)


class ThreadStore:
    """Threads in the records. Each method with an owner finds the threads of this owner only."""

    def __init__(self, threads: ConversationStore, runs: RunStore) -> None:
        self._threads = threads
        self._runs = runs

    async def create(self, new: NewThread, owner: str) -> ThreadObject:
        """Create a thread with some messages. Raises RequestError."""
        thread_id, now = new_id(THREADS.prefix), created_now()
        resources = known_resources(new.tool_resources or {})
        stored = StoredConversation(now, new.metadata or {}, tool_resources=resources)
        await self._threads.put(thread_id, stored, new.items(now), owner)
        return _shown(thread_id, stored)

    async def get(self, thread_id: str, owner: str) -> ThreadObject:
        """A thread. Raises RequestError (404)."""
        return _shown(thread_id, (await self._threads.find(thread_id, owner))[1])

    async def update(self, thread_id: str, owner: str, **fields: Any) -> ThreadObject:
        """Replace fields. Raises RequestError (404)."""
        return _shown(thread_id, await self._threads.change(thread_id, owner, **fields))

    async def delete(self, thread_id: str, owner: str) -> None:
        """Delete a thread, its messages and its runs. Raises RequestError (404)."""
        await self._threads.find(thread_id, owner)
        await self._runs.delete_all(thread_id, owner)
        await self._threads.delete(thread_id, owner)

    # Messages

    async def add(self, thread_id: str, new: NewMessage, owner: str) -> MessageObject:
        """Add a message. Raises RequestError, also while a run is active."""
        if active := await self._runs.settle(thread_id, owner):
            raise RequestError(400, f"Can't add messages to {thread_id} while a run {active} is active.")
        added = await self._threads.add(thread_id, owner, [new.item(created_now())])
        return message_of(added.data[0], thread_id)

    async def messages(
        self,
        thread_id: str,
        owner: str,
        limit: int,
        after: str | None,
        before: str | None,
        order: Order,
        run_id: str | None,
        beta: Beta,
    ) -> ObjectPage:
        """A page of messages, of a run if one is given. Raises RequestError (404), and UnknownCursor."""
        await self._runs.settle(thread_id, owner)
        if run_id is None:
            page = await self._threads.page(thread_id, owner, limit, after, order, before)
            return ObjectPage.of(_messages_in(page.data, thread_id, beta), has_more=page.has_more)
        found = [one for one in await self._threads.recent_items(thread_id, owner) if one.get("run_id") == run_id]
        objects = _messages_in(found[::-1] if order == "desc" else found, thread_id, beta)
        return page_of(objects, limit, after, before)

    async def message(self, thread_id: str, message_id: str, owner: str) -> MessageObject:
        """A message. Raises RequestError (404)."""
        await self._runs.settle(thread_id, owner)
        return message_of(await self._threads.item(thread_id, message_id, owner), thread_id)

    async def update_message(self, thread_id: str, message_id: str, owner: str, **fields: Any) -> MessageObject:
        """Replace fields of a message. Raises RequestError (404)."""
        item = await self._threads.change_item(thread_id, message_id, owner, **fields)
        return message_of(item, thread_id)

    async def delete_message(self, thread_id: str, message_id: str, owner: str) -> None:
        """Delete a message. Raises RequestError (404)."""
        await self._threads.delete_item(thread_id, message_id, owner)


def _messages_in(items: Sequence[RawItem], thread_id: str, beta: Beta) -> list[dict[str, Any]]:
    return [shown(message_of(item, thread_id), beta) for item in items]


def _shown(thread_id: str, stored: StoredConversation) -> ThreadObject:
    return ThreadObject(
        id=thread_id,
        created_at=stored.created_at,
        metadata=stored.metadata,
        tool_resources=stored.tool_resources,
    )
