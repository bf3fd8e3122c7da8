"""The store of chat completions: those of requests with ``store: true``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from mimic.engine.base import Completion
from mimic.errors import RecordChanged, RequestError
from mimic.gateway.context import RequestContext
from mimic.records.base import Change, Draft, Order, Record, Records
from mimic.spelling import shown
from mimic.stored.pages import ObjectPage, page_of
from mimic.wire.openai.chat import ChatWire
from mimic.wire.openai.sampled import OpenAIRequest

KIND: Final = "chat_completion"
PAGE: Final = 100
MOST_SEARCHED: Final = 2_000
"""Records that one list looks at, if it has a filter."""


class StoredChat(msgspec.Struct, frozen=True):
    """The data of a record: the completion as it was sent, its metadata, and the messages of the request."""

    completion: dict[str, Any]
    metadata: Mapping[str, str]
    messages: Sequence[dict[str, Any]]

    def shown(self) -> dict[str, Any]:
        """The completion with its metadata."""
        return {**self.completion, "metadata": self.metadata}


class ChatStore:
    """Chat completions in the records. Each method with an owner finds the completions of this owner only."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def keep(
        self, wire: ChatWire, request: OpenAIRequest, completion: Completion, context: RequestContext
    ) -> None:
        """Store a completion as the wire writes it."""
        kept = request.kept
        if kept is not None:
            written = msgspec.json.decode(wire.whole(request, completion))
            data = _written(StoredChat(written, kept.metadata, kept.messages))
            draft = Draft(kind=KIND, id=kept.id, owner=context.known.owner, state="completed", data=data)
            await self._records.put(draft)

    async def get(self, completion_id: str, owner: str) -> dict[str, Any]:
        """A completion. Raises RequestError (404)."""
        return _stored_in(await self._find(completion_id, owner)).shown()

    async def update(self, completion_id: str, owner: str, metadata: Mapping[str, str]) -> dict[str, Any]:
        """Replace the metadata. Raises RequestError (404)."""
        while True:
            record = await self._find(completion_id, owner)
            changed = msgspec.structs.replace(_stored_in(record), metadata=metadata)
            try:
                await self._records.update(record, Change(data=_written(changed)))
            except RecordChanged:
                continue
            return changed.shown()

    async def delete(self, completion_id: str, owner: str) -> None:
        """Delete a completion. Raises RequestError (404)."""
        if not await self._records.delete(KIND, completion_id, owner):
            raise _no_completion(completion_id)

    async def page(
        self,
        owner: str,
        limit: int,
        after: str | None,
        order: Order,
        is_wanted: Callable[[StoredChat], bool] = lambda _: True,
    ) -> ObjectPage:
        """A page of the completions that are wanted. Raises UnknownCursor."""
        found: list[dict[str, Any]] = []
        searched, has_more = 0, True
        while has_more and searched < MOST_SEARCHED:
            page = await self._records.page(KIND, owner, after=after, order=order, limit=PAGE)
            for record in page.records:
                stored = _stored_in(record)
                if is_wanted(stored):
                    if len(found) == limit:
                        return ObjectPage.of(found, has_more=True)
                    found.append(stored.shown())
                after = record.id
            searched, has_more = searched + len(page.records), page.has_more
        return ObjectPage.of(found, has_more=has_more)

    async def messages(self, completion_id: str, owner: str, limit: int, after: str | None, order: Order) -> ObjectPage:
        """A page of the messages of the request. Raises RequestError."""
        stored = _stored_in(await self._find(completion_id, owner))
        messages = [
            {"content": None, **message, "id": f"{completion_id}-{index}"}
            for index, message in enumerate(stored.messages)
        ]
        if order == "desc":
            messages.reverse()
        return page_of(messages, limit, after)

    async def _find(self, completion_id: str, owner: str) -> Record:
        record = await self._records.get(KIND, completion_id, owner)
        if record is None:
            raise _no_completion(completion_id)
        return record


def _written(stored: StoredChat) -> bytes:
    return msgspec.json.encode(stored)


def _stored_in(record: Record) -> StoredChat:
    return msgspec.json.decode(record.data, type=StoredChat)


def _no_completion(completion_id: str) -> RequestError:
    return RequestError(404, f"Chat completion with id '{shown(completion_id)}' not found.")
