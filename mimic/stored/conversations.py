"""The store of conversations: lists of items that responses read and extend.

A conversation and its items never expire. The bounds remove the conversation first, since its items are newer.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, Literal

import msgspec

from mimic.errors import RecordChanged, RequestError
from mimic.records.base import Change, Draft, Order, Record, Records, new_id
from mimic.spelling import shown
from mimic.stored.pages import ObjectPage
from mimic.wire.openai.responses.items import RawItem, completed_item, prefix_of, read_items

KIND: Final = "conversation"
ITEM_KIND: Final = "conversation_item"
MAX_HISTORY: Final = 1_000_000
"""Bytes of the items before an input, as they are stored."""
PAGE: Final = 100


class StoredConversation(msgspec.Struct, frozen=True):
    """The data of a record. ``items`` counts the positions that were given to items.

    A thread also has the resources of its tools, and the id of its last run.
    """

    created_at: int
    metadata: Mapping[str, str]
    items: int = 0
    tool_resources: Mapping[str, Any] = {}
    run: str = ""


class ConversationKind(msgspec.Struct, frozen=True):
    """The kinds of the records of conversations, the prefix of their ids, and the errors for unknown ids."""

    kind: str = KIND
    item_kind: str = ITEM_KIND
    prefix: str = "conv"
    name: str = "Conversations"
    missing: str = "ConversationObject with id '{}' not found."
    missing_item: str = "Item with id '{}' not found."

    def not_found(self, conversation_id: str) -> RequestError:
        """The error for a conversation that does not exist, or that belongs to another owner."""
        return RequestError(404, self.missing.format(shown(conversation_id)))

    def item_not_found(self, item_id: str) -> RequestError:
        """The error for an item that does not exist, or that belongs to another owner."""
        return RequestError(404, self.missing_item.format(shown(item_id)))


CONVERSATIONS: Final = ConversationKind()


class ConversationObject(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation."""

    id: str
    object: Literal["conversation"] = "conversation"
    created_at: int
    metadata: Mapping[str, str]


class ConversationStore:
    """Conversations in the records. Each method with an owner finds the conversations of this owner only."""

    def __init__(self, records: Records, kind: ConversationKind = CONVERSATIONS) -> None:
        self._records = records
        self._kind = kind

    async def create(
        self, items: Sequence[RawItem], metadata: Mapping[str, str], owner: str, created_at: int
    ) -> ConversationObject:
        """Create a conversation with some items. Raises RequestError for an invalid item."""
        conversation_id, stored = new_id(self._kind.prefix), StoredConversation(created_at, metadata)
        await self.put(conversation_id, stored, items, owner)
        return _shown(conversation_id, stored)

    async def put(self, conversation_id: str, stored: StoredConversation, items: Sequence[RawItem], owner: str) -> None:
        """Create a conversation with an id. Raises RequestError for an invalid item."""
        read_items(items, "items")
        if not self._records.is_on:
            raise RequestError(400, f"{self._kind.name} need records, which MIMIC_RECORDS=off switches off.")
        data = _written(stored)
        await self._records.put(Draft(kind=self._kind.kind, id=conversation_id, owner=owner, data=data, lives=None))
        if items:
            await self._append(conversation_id, owner, _new(items))

    async def get(self, conversation_id: str, owner: str) -> ConversationObject:
        """A conversation. Raises RequestError (404)."""
        return _shown(conversation_id, (await self.find(conversation_id, owner))[1])

    async def update(self, conversation_id: str, owner: str, metadata: Mapping[str, str]) -> ConversationObject:
        """Replace the metadata. Raises RequestError (404)."""
        return _shown(conversation_id, await self.change(conversation_id, owner, metadata=metadata))

    async def find(self, conversation_id: str, owner: str) -> tuple[Record, StoredConversation]:
        """A conversation as it is stored. Raises RequestError (404)."""
        record = await self._find(conversation_id, owner)
        return record, _stored_in(record)

    async def change(self, conversation_id: str, owner: str, **fields: Any) -> StoredConversation:
        """Replace fields. Raises RequestError (404)."""
        while True:
            record, stored = await self.find(conversation_id, owner)
            with suppress(RecordChanged):
                return await self.write(record, msgspec.structs.replace(stored, **fields))

    async def write(self, record: Record, stored: StoredConversation) -> StoredConversation:
        """Replace the data of a conversation. Raises RecordChanged."""
        await self._records.update(record, Change(data=_written(stored)))
        return stored

    async def delete(self, conversation_id: str, owner: str) -> None:
        """Delete a conversation and its items. Raises RequestError (404).

        The items go first: a deletion that was interrupted can be repeated.
        """
        await self._find(conversation_id, owner)
        await self._records.delete_under(self._kind.item_kind, conversation_id, owner)
        await self._records.delete(self._kind.kind, conversation_id, owner)
        await self._records.delete_under(self._kind.item_kind, conversation_id, owner)  # of appends in between

    # Items

    async def add(self, conversation_id: str, owner: str, items: Sequence[RawItem]) -> ObjectPage:
        """Append items. Raises RequestError for an invalid item, or if there is no conversation."""
        read_items(items, "items")
        added = _new(items)
        await self._append(conversation_id, owner, added)
        return ObjectPage.of(added, has_more=False)

    async def append(self, conversation_id: str, owner: str, items: Sequence[RawItem]) -> None:
        """Append the items of a response, which have ids; items that are there already stay as they are.

        Does nothing if the conversation was deleted.
        """
        known = await self._records.get_all(self._kind.item_kind, [item["id"] for item in items], owner)
        if len(known) < len(items):
            with suppress(RequestError):
                await self._append(conversation_id, owner, items)

    async def page(
        self,
        conversation_id: str,
        owner: str,
        limit: int,
        after: str | None,
        order: Order,
        before: str | None = None,
    ) -> ObjectPage:
        """A page of items. Raises RequestError (404), and UnknownCursor."""
        await self._find(conversation_id, owner)
        found = await self._records.page(
            self._kind.item_kind, owner, conversation_id, after=after, before=before, order=order, limit=limit
        )
        return ObjectPage.of([item_in(record) for record in found.records], has_more=found.has_more)

    async def item(self, conversation_id: str, item_id: str, owner: str) -> RawItem:
        """An item. Raises RequestError (404)."""
        return item_in(await self._find_item(conversation_id, item_id, owner))

    async def change_item(self, conversation_id: str, item_id: str, owner: str, **fields: Any) -> RawItem:
        """Replace fields of an item. Raises RequestError (404)."""
        while True:
            record = await self._find_item(conversation_id, item_id, owner)
            item = {**item_in(record), **fields}
            with suppress(RecordChanged):
                await self._records.update(record, Change(data=msgspec.json.encode(item)))
                return item

    async def delete_item(self, conversation_id: str, item_id: str, owner: str) -> ConversationObject:
        """Delete an item, and return the conversation. Raises RequestError (404)."""
        await self.item(conversation_id, item_id, owner)
        await self._records.delete(self._kind.item_kind, item_id, owner)
        return await self.get(conversation_id, owner)

    async def all_items(self, conversation_id: str, owner: str) -> Sequence[RawItem]:
        """All items, in order. Raises RequestError if there are too many, or if there is no conversation."""
        items: list[RawItem] = []
        size = 0
        async with aclosing(self._records_of(conversation_id, owner, "asc")) as records:
            async for record in records:
                items.append(item_in(record))
                size += len(record.data)
                if size > MAX_HISTORY:
                    text = f"The conversation is too long: at most {MAX_HISTORY:,} bytes."
                    raise RequestError(400, text, param="conversation", code="context_length_exceeded")
        return items

    async def recent_items(self, conversation_id: str, owner: str) -> Sequence[RawItem]:
        """The last items, in order: as many as are not too many. Raises RequestError if there is no conversation."""
        items: list[RawItem] = []
        size = 0
        async with aclosing(self._records_of(conversation_id, owner, "desc")) as records:
            async for record in records:
                size += len(record.data)
                if items and size > MAX_HISTORY:
                    break
                items.append(item_in(record))
        return items[::-1]

    async def _records_of(self, conversation_id: str, owner: str, order: Order) -> AsyncGenerator[Record]:
        """Yield the records of all items. Raises RequestError if there is no conversation."""
        await self._find(conversation_id, owner)
        after, has_more = None, True
        while has_more:
            found = await self._records.page(
                self._kind.item_kind, owner, conversation_id, after=after, order=order, limit=PAGE
            )
            for record in found.records:
                yield record
                after = record.id
            has_more = found.has_more

    async def _append(self, conversation_id: str, owner: str, items: Sequence[RawItem]) -> None:
        """Reserve positions in the conversation, and write the items there.

        Raises RequestError (404), also if the conversation is deleted meanwhile: then no item stays.
        """
        first = await self._reserve(conversation_id, owner, len(items))
        drafts = [
            Draft(
                kind=self._kind.item_kind,
                id=item["id"],
                owner=owner,
                parent=conversation_id,
                position=first + index,
                data=msgspec.json.encode(item),
                lives=None,
            )
            for index, item in enumerate(items)
        ]
        await self._records.put_all(drafts)
        if await self._records.get(self._kind.kind, conversation_id, owner) is None:
            await self._records.delete_under(self._kind.item_kind, conversation_id, owner)
            raise self._kind.not_found(conversation_id)

    async def _reserve(self, conversation_id: str, owner: str, number: int) -> int:
        """Reserve positions. Returns the first one."""
        while True:
            record, stored = await self.find(conversation_id, owner)
            with suppress(RecordChanged):  # another request reserved some
                await self.write(record, msgspec.structs.replace(stored, items=stored.items + number))
                return stored.items

    async def _find(self, conversation_id: str, owner: str) -> Record:
        record = await self._records.get(self._kind.kind, conversation_id, owner)
        if record is None:
            raise self._kind.not_found(conversation_id)
        return record

    async def _find_item(self, conversation_id: str, item_id: str, owner: str) -> Record:
        await self._find(conversation_id, owner)
        record = await self._records.get(self._kind.item_kind, item_id, owner)
        if record is None or record.parent != conversation_id:
            raise self._kind.item_not_found(item_id)
        return record


def _new(items: Sequence[RawItem]) -> Sequence[RawItem]:
    """Items with new ids."""
    return [completed_item({**item, "id": new_id(prefix_of(item))}) for item in items]


def _shown(conversation_id: str, stored: StoredConversation) -> ConversationObject:
    return ConversationObject(id=conversation_id, created_at=stored.created_at, metadata=stored.metadata)


def _written(stored: StoredConversation) -> bytes:
    return msgspec.json.encode(stored)


def _stored_in(record: Record) -> StoredConversation:
    return msgspec.json.decode(record.data, type=StoredConversation)


def item_in(record: Record) -> RawItem:
    """The item in a record."""
    item: dict[str, Any] = msgspec.json.decode(record.data)
    return item
