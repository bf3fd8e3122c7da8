"""Recent responses of one connection, which its next requests may follow although nothing is stored."""

from collections.abc import Sequence
from typing import Final

import msgspec

from mimic.engine.base import Completion
from mimic.gateway.context import RequestContext
from mimic.stored.conversations import MAX_HISTORY
from mimic.stored.responses import MAX_ANCESTORS, ResponseStore, too_long
from mimic.wire.openai.responses.answer import output_of, response_id_of
from mimic.wire.openai.responses.history import History, Past
from mimic.wire.openai.responses.items import RawItem, identified
from mimic.wire.openai.responses.request import ResponseRequest

MAX_RECENT: Final = 256
"""Responses that a connection remembers."""
MAX_BYTES: Final = 8 * MAX_HISTORY
"""Bytes of all that a connection remembers. Responses of one chain share their items, which count for each."""


class RecentResponse(msgspec.Struct, frozen=True):
    """A response with all items up to its end. ``lane`` is the lane that it was made on.

    A response with more than ``MAX_HISTORY`` bytes before its end has no items, and cannot be continued.
    """

    lane: str | None
    past: Past
    size: int


class ConnectionResponses(History):
    """The recent responses of a connection, and the stored ones of its owner.

    The oldest are forgotten first. As at OpenAI, a response is forgotten if a request that follows it fails on the same
    lane.
    """

    def __init__(self, stored: ResponseStore) -> None:
        self._stored = stored
        self._recent: dict[str, RecentResponse] = {}
        self._size = 0
        self.is_on = stored.is_on

    async def keep(
        self, lane: str | None, request: ResponseRequest, completion: Completion, context: RequestContext
    ) -> None:
        """Remember a response, and store it if the request wants it. A response that will fail is not remembered."""
        await self._stored.keep(request, completion, context)
        fault = None if context.is_plain else context.inject()
        if fault is None or fault.kind != "error":
            self._remember(request.response.id, _recent(lane, request, completion))

    def _remember(self, response_id: str, response: RecentResponse) -> None:
        self._recent[response_id] = response
        self._size += response.size
        while len(self._recent) > MAX_RECENT or self._size > MAX_BYTES:
            self._forget(next(iter(self._recent)))

    def forget_after_failure(self, response_id: object, lane: str | None) -> None:
        """Forget a response of this lane, since a request that follows it failed."""
        if isinstance(response_id, str) and response_id in self._recent and self._recent[response_id].lane == lane:
            self._forget(response_id)

    def _forget(self, response_id: str) -> None:
        self._size -= self._recent.pop(response_id).size

    async def before(self, response_id: str, owner: str) -> Past:
        recent = self._recent.get(response_id)
        if recent is None:
            return await self._stored.before(response_id, owner)
        if not recent.past.responses or len(recent.past.responses) > MAX_ANCESTORS:
            raise too_long()
        return recent.past

    async def conversation(self, conversation_id: str, owner: str) -> Past:
        return await self._stored.conversation(conversation_id, owner)

    async def item(self, item_id: str, owner: str) -> RawItem:
        recent = self._recent.get(response_id_of(item_id))
        for item in recent.past.items if recent else ():
            if item.get("id") == item_id:
                return item
        return await self._stored.item(item_id, owner)


def _recent(lane: str | None, request: ResponseRequest, completion: Completion) -> RecentResponse:
    response_id, past = request.response.id, request.past
    inputs = [identified(item, response_id, index) for index, item in enumerate(request.items)]
    output: Sequence[RawItem] = msgspec.to_builtins(output_of(request.response, completion, request.logprobs))
    items = [*past.items, *inputs, *output]
    size = len(msgspec.json.encode(items))
    if size > MAX_HISTORY:
        return RecentResponse(lane, Past(), 0)
    return RecentResponse(lane, Past(items, [*past.responses, response_id]), size)
