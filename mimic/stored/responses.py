"""The store of responses: keeps them, finds them by id, and finishes responses in the background."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Final

import msgspec

from mimic.engine.base import Completion
from mimic.errors import RecordChanged, RequestError
from mimic.gateway.context import RequestContext
from mimic.gateway.delivery import Reply, headers_of, pace_steps, with_limits_of_imitation
from mimic.gateway.faults import injected_error
from mimic.records.base import Change, Claim, Draft, Lease, Record, Records
from mimic.spelling import shown
from mimic.stored.conversations import ITEM_KIND, MAX_HISTORY, ConversationStore, item_in
from mimic.stored.pages import ObjectPage, page_of
from mimic.stored.response_state import (
    CANCELLED,
    KIND,
    QUEUED,
    StoredResponse,
    response_at,
    seconds_since,
    stored_answer,
    stored_in,
    written,
)
from mimic.stored.streams import until_cancelled
from mimic.stored.webhook_deliveries import DeliveryStore
from mimic.wire.openai.base import created_now
from mimic.wire.openai.responses.answer import ResponseObject, answer_of, failed, item_id, output_of, response_id_of
from mimic.wire.openai.responses.events import Resumed, error_events, plan_of
from mimic.wire.openai.responses.history import History, Past, no_item, no_previous_response
from mimic.wire.openai.responses.items import FIRST_INPUT, RawItem, identified, prefix_of
from mimic.wire.openai.responses.request import ResponseRequest
from mimic.wire.openai.webhooks import WebhookEvent

ANSWERED: Final = frozenset({"completed", "incomplete"})
"""States of a response with an answer, which an input can follow."""
WORKING: Final = frozenset({"queued", "in_progress"})
"""States of a response that has not ended."""
MAX_ANCESTORS: Final = 256
SECONDS_WITHOUT_STORE: Final = 600.0
"""Seconds that a response in the background with ``store: false`` can be fetched."""


class ResponseStore(History):
    """Responses in the records. Each method with an owner finds the responses of this owner only."""

    def __init__(self, records: Records, conversations: ConversationStore, webhooks: DeliveryStore) -> None:
        self._records = records
        self._conversations = conversations
        self._webhooks = webhooks
        self.is_on = records.is_on

    # Keeping

    async def keep(self, request: ResponseRequest, completion: Completion, context: RequestContext) -> Reply | None:
        """Store a response. Returns the reply for one in the background, which is not streamed: it is queued."""
        response, owner = request.response, context.known.owner
        stored = new_response(request, completion, context)
        if response.store or response.background:
            await self._put(stored, owner)
        if response.conversation and not response.background:
            await self._extend(stored, owner)
        if not response.background or request.stream:
            return None
        headers = with_limits_of_imitation(headers_of(completion), request, completion)
        return Reply(msgspec.json.encode(response), headers)

    async def _put(self, stored: StoredResponse, owner: str) -> None:
        response = stored.response
        await self._records.put(
            Draft(
                kind=KIND,
                id=response.id,
                owner=owner,
                state=QUEUED if response.background else "completed",
                data=written(stored),
                lives=msgspec.UNSET if response.store else SECONDS_WITHOUT_STORE,
                due=stored.last if response.background else None,
            )
        )

    async def finish(self, claim: Claim) -> None:
        """Finish a response in the background that is due. Raises RecordChanged after a cancellation."""
        await self._finish(claim.record, claim.lease)

    async def _finish(self, record: Record, lease: Lease | None = None) -> None:
        """Write the outcome, unless it is written, and then announce it. Each step may be repeated."""
        stored = stored_in(record)
        if record.state == QUEUED:
            state = response_at(record, stored, float("inf")).status
            if state in ANSWERED:
                await self._extend(stored, record.owner)
            record = await self._end(record, state, lease)
        if record.due is not None:
            at = created_now() if record.state == CANCELLED else int(record.created + stored.last)
            await self._webhooks.announce(WebhookEvent.of(f"response.{record.state}", record.id, at), record.owner)
            await self._records.update(record, Change(due=None), lease)

    async def _end(self, record: Record, state: str, lease: Lease | None = None) -> Record:
        """Write the outcome. If a target wants the event, the record stays a job: its event is to be announced."""
        if not await self._webhooks.targets(f"response.{state}", record.owner):
            return await self._records.update(record, Change(state=state, due=None), lease)
        due = msgspec.UNSET if lease else 0.0  # a change of due ends the lease, also another process's
        return await self._records.update(record, Change(state=state, due=due), lease)

    async def _extend(self, stored: StoredResponse, owner: str) -> None:
        """Append input and output to the conversation of a response, if it has one."""
        response = stored.response
        if response.conversation and not stored.error:
            inputs = [
                {**item, "id": item_id(response.id, prefix_of(item), FIRST_INPUT + index)}
                for index, item in enumerate(stored.items)
            ]
            output = msgspec.to_builtins(output_of(response, stored.completion(), stored.top))
            await self._conversations.append(response.conversation.id, owner, [*inputs, *output])

    # By id

    async def find(self, response_id: str, owner: str) -> tuple[Record, StoredResponse]:
        """A stored response. Raises RequestError (404)."""
        record = await self._records.get(KIND, response_id, owner)
        if record is None:
            raise RequestError(404, f"Response with id '{shown(response_id)}' not found.")
        return record, stored_in(record)

    async def get(self, response_id: str, owner: str) -> ResponseObject:
        """A response in its state at the moment. Raises RequestError (404)."""
        record, stored = await self.find(response_id, owner)
        return response_at(record, stored, seconds_since(record))

    async def delete(self, response_id: str, owner: str) -> None:
        """Delete a response. One that has ended is finished first. Raises RequestError (404)."""
        record, stored = await self.find(response_id, owner)
        if record.due is not None and response_at(record, stored, seconds_since(record)).status not in WORKING:
            with suppress(RecordChanged):  # another process finishes it
                await self._finish(record)
        if not await self._records.delete(KIND, response_id, owner):
            raise RequestError(404, f"Response with id '{shown(response_id)}' not found.")

    async def cancel(self, response_id: str, owner: str) -> ResponseObject:
        """Cancel a response in the background, unless it has ended. Raises RequestError."""
        while True:
            record, stored = await self.find(response_id, owner)
            response = response_at(record, stored, seconds_since(record))
            if not response.background:
                raise RequestError(400, "Cannot cancel a synchronous response.")
            if response.status not in WORKING:
                return response
            try:
                await self._end(record, CANCELLED)
            except RecordChanged:  # it ended, or was cancelled, in between
                continue
            return msgspec.structs.replace(response, status="cancelled")

    async def input_items(
        self, response_id: str, owner: str, limit: int, after: str | None, *, newest_first: bool
    ) -> ObjectPage:
        """A page of the own input of a response. Raises RequestError."""
        _, stored = await self.find(response_id, owner)
        items = list(reversed(stored.items)) if newest_first else list(stored.items)
        return page_of(items, limit, after)

    # History

    async def before(self, response_id: str, owner: str) -> Past:
        """Inputs and outputs of a response and of its ancestors. Raises RequestError if one is missing."""
        record = await self._records.get(KIND, response_id, owner)
        if record is None:
            raise no_previous_response(response_id)
        stored = stored_in(record)
        status, ancestors = response_at(record, stored, seconds_since(record)).status, stored.ancestors
        if status not in ANSWERED:
            text = f"The previous response with id '{shown(response_id)}' has no answer: its status is '{status}'."
            raise RequestError(400, text, param="previous_response_id", code="invalid_value")
        found = {one.id: one for one in await self._records.get_all(KIND, ancestors, owner)} if ancestors else {}
        for missing in (one for one in ancestors if one not in found):
            raise no_previous_response(missing)
        records = [*(found[one] for one in ancestors), record]
        if len(records) > MAX_ANCESTORS or sum(len(one.data) for one in records) > MAX_HISTORY:
            raise too_long()
        items = [item for one in records for item in _all_items(one)]
        return Past(items, [*ancestors, response_id])

    async def conversation(self, conversation_id: str, owner: str) -> Past:
        """The items of a conversation. Raises RequestError if it is missing."""
        return Past(await self._conversations.all_items(conversation_id, owner))

    async def item(self, reference: str, owner: str) -> RawItem:
        """An item of a stored response, or of a conversation. Raises RequestError if it is missing."""
        record = await self._records.get(KIND, response_id_of(reference), owner)
        for item in _all_items(record) if record else ():
            if item.get("id") == reference:
                return item
        in_conversation = await self._records.get(ITEM_KIND, reference, owner)
        if in_conversation is None:
            raise no_item(reference)
        return item_in(in_conversation)

    # Streams

    async def stream(self, response_id: str, owner: str, after: int) -> AsyncIterator[bytes]:
        """The events of a response after a sequence number, each at its time. Raises RequestError (404)."""
        record, stored = await self.find(response_id, owner)
        return self._events(record, stored, after)

    async def _events(self, record: Record, stored: StoredResponse, after: int) -> AsyncIterator[bytes]:
        """Yield the events, until the response is cancelled."""
        plan = plan_of(stored.response, stored.completion(), int(record.created + stored.last), stored.top)
        ending, most = plan.ending, None
        if stored.error:
            error = RequestError(500, stored.error.message, code=stored.error.code)
            ending, most = error_events(plan, error, stored.sent), stored.sent
        steps = pace_steps(b"", Resumed(plan, ending, after, most), b"", _due(record, stored))
        async with aclosing(until_cancelled(steps, partial(self._is_cancelled, record))) as parts:
            async for part in parts:
                yield part

    async def _is_cancelled(self, record: Record) -> bool:
        """True if a response was cancelled or deleted since it was read. One that was over then stays as it is."""
        if record.due is None:
            return False
        now = await self._records.get(KIND, record.id, None)
        return now is None or now.state == CANCELLED


def too_long() -> RequestError:
    """The error for a previous response with too much before it."""
    text = f"The conversation is too long: at most {MAX_ANCESTORS} responses, and {MAX_HISTORY:,} bytes."
    return RequestError(400, text, param="previous_response_id", code="context_length_exceeded")


def _due(record: Record, stored: StoredResponse) -> Iterator[float] | None:
    """The due time of each token on the event loop's clock; None if all are due."""
    if record.due is None or stored.timing is None:
        return None
    began = asyncio.get_running_loop().time() - seconds_since(record)
    return (began + moment for moment in stored.timing.moments())


def new_response(request: ResponseRequest, completion: Completion, context: RequestContext) -> StoredResponse:
    """The data of a new response. With the fault ``error`` it fails after the fault's number of tokens."""
    response, answer, error, sent = request.response, answer_of(completion), None, 0
    fault = None if context.is_plain else context.inject()
    if fault is not None and fault.kind == "error":
        error = failed(response, injected_error(fault)).error
        sent = min(fault.after or 0, max(0, len(answer.tokens) - 1))
    return StoredResponse(
        response=response,
        items=[identified(item, response.id, index) for index, item in enumerate(request.items)],
        ancestors=request.past.responses,
        usage=completion.usage,
        top=request.logprobs,
        timing=context.timing,
        error=error,
        sent=sent,
        has_output=request.generate,
        **stored_answer(answer),
    )


def _all_items(record: Record) -> Sequence[RawItem]:
    """The input of a response, and its output if it is complete."""
    stored = stored_in(record)
    response = response_at(record, stored, seconds_since(record))
    return [*stored.items, *msgspec.to_builtins(response.output)]
