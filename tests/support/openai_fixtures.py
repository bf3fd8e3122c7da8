"""Objects that the generated tests of OpenAI's SDK ask for by fixed ids, planted through the records' interface.

The tests are in the source distribution of the package ``openai``. With Mimic's packages and this repository on the
path, and the same MIMIC_RECORDS as the server::

    TEST_API_BASE_URL=http://127.0.0.1:8000/v1 pytest -p tests.support.openai_fixtures tests/api_resources/responses

Each test finds the objects again, since some tests delete them.
"""

import asyncio
import os
from typing import Final

import msgspec
import pytest

from mimic.engine.base import Usage
from mimic.records import open_records
from mimic.records.base import Draft, RecordOptions
from mimic.stored.chats import KIND as CHAT
from mimic.stored.chats import StoredChat
from mimic.stored.conversations import ITEM_KIND, StoredConversation
from mimic.stored.conversations import KIND as CONVERSATION
from mimic.stored.response_state import KIND, StoredResponse, written
from mimic.wire.openai.responses.answer import ResponseObject
from mimic.wire.openai.responses.items import completed_item, identified

RESPONSES: Final = ("resp_677efb5139a88190b512bc3fef8e535d", "resp_123", "response_id")
CONVERSATIONS: Final = ("conv_123", "string")
ITEM: Final = "msg_abc"
_CONVERSATION: Final = msgspec.json.encode(StoredConversation(1_700_000_000, {}))
CHATS: Final = ("completion_id", "after")
_CHAT: Final = StoredChat(
    {
        "id": CHATS[0],
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
    },
    {},
    [{"role": "assistant", "content": "hi"}],
)
"""The SDK's type of stored messages knows the assistant's only."""


async def plant(url: str) -> None:
    """Replace all objects."""
    async with open_records(url, "sqlite:///corpus.db", RecordOptions()) as records:
        for response_id in RESPONSES:
            await records.delete(KIND, response_id, None)
            await records.put(Draft(kind=KIND, id=response_id, data=written(_response(response_id))))
        for conversation_id in CONVERSATIONS:
            await records.delete(CONVERSATION, conversation_id, None)
            await records.put(Draft(kind=CONVERSATION, id=conversation_id, data=_CONVERSATION))
        for chat_id in CHATS:
            await records.delete(CHAT, chat_id, None)
            await records.put(Draft(kind=CHAT, id=chat_id, data=msgspec.json.encode(_CHAT)))
        await records.delete(ITEM_KIND, ITEM, None)
        item = completed_item({"role": "user", "content": "hi", "id": ITEM})
        await records.put(Draft(kind=ITEM_KIND, id=ITEM, parent=CONVERSATIONS[0], data=msgspec.json.encode(item)))


def _response(response_id: str) -> StoredResponse:
    """A response that began in the background, and that is complete."""
    return StoredResponse(
        response=ResponseObject(id=response_id, created_at=1_700_000_000, model="m", background=True),
        items=[identified({"role": "user", "content": "hi"}, response_id, 0)],
        ancestors=(),
        text="hello",
        tokens=[24912],
        calls=(),
        finish_reason="stop",
        usage=Usage(8, 1),
    )


@pytest.fixture(autouse=True)
def planted() -> None:
    """Plant the objects before each test."""
    asyncio.run(plant(os.environ["MIMIC_RECORDS"]))
