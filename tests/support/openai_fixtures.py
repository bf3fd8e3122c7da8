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
from mimic.records.base import Draft, RecordOptions, Records
from mimic.stored.assistants import KIND as ASSISTANT
from mimic.stored.batches import KIND as BATCH_KIND
from mimic.stored.chats import KIND as CHAT
from mimic.stored.chats import StoredChat
from mimic.stored.conversations import ITEM_KIND, StoredConversation
from mimic.stored.conversations import KIND as CONVERSATION
from mimic.stored.files import KIND as FILE
from mimic.stored.files import UPLOAD_KIND, FileStore
from mimic.stored.options import FileOptions
from mimic.stored.response_state import KIND, StoredCall, StoredResponse, written
from mimic.stored.run_state import KIND as RUN
from mimic.stored.run_state import StoredRun, Turn
from mimic.stored.run_state import written as run_written
from mimic.stored.threads import THREADS
from mimic.stored.uploads import PART_KIND
from mimic.wire.openai.assistants.objects import AssistantObject, RunObject
from mimic.wire.openai.responses.answer import ResponseObject
from mimic.wire.openai.responses.items import completed_item, identified

RESPONSES: Final = ("resp_677efb5139a88190b512bc3fef8e535d", "resp_123", "response_id")
CONVERSATIONS: Final = ("conv_123", "string")
ITEM: Final = "msg_abc"
_CONVERSATION: Final = msgspec.json.encode(StoredConversation(1_700_000_000, {}))
FILES: Final = ("file_id", "input_file_id", "after")
UPLOAD: Final = "upload_abc123"
UPLOAD_GROUP: Final = "abc123"
PARTS: Final = ("string",)
BATCHES: Final = ("batch_id", "after")
ASSISTANTS: Final = ("assistant_id", "after", "before")
THREAD: Final = "thread_id"
MESSAGES: Final = ("before", "message_id", "after")
RUNS: Final = ("before", "run_id", "after")
CALL: Final = StoredCall("tool_call_id", "look", "{}", False, [4913])
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
        await _plant_files(records)
        await _plant_threads(records)
        await records.delete(ITEM_KIND, ITEM, None)
        item = completed_item({"role": "user", "content": "hi", "id": ITEM})
        await records.put(Draft(kind=ITEM_KIND, id=ITEM, parent=CONVERSATIONS[0], data=msgspec.json.encode(item)))


async def _plant_threads(records: Records) -> None:
    """Replace assistants, and a thread with its messages, and with runs that wait for the output of a call."""
    assistants = [AssistantObject(id=one, created_at=1_700_000_000, model="m") for one in ASSISTANTS]
    messages = [completed_item({"role": "user", "content": "hi", "id": one}) for one in MESSAGES]
    texts = {one["id"]: msgspec.json.encode({**one, "created_at": 1_700_000_000}) for one in messages}
    drafts = [
        *(Draft(kind=ASSISTANT, id=one.id, data=msgspec.json.encode(one)) for one in assistants),
        Draft(kind=THREADS.kind, id=THREAD, data=_CONVERSATION),
        *(Draft(kind=THREADS.item_kind, id=one, parent=THREAD, data=text) for one, text in texts.items()),
        *(Draft(kind=RUN, id=one, parent=THREAD, state="queued", data=_run(one), due=600) for one in RUNS),
    ]
    for kind in (THREADS.item_kind, RUN):
        await records.delete_under(kind, THREAD, None)
    for draft in drafts:
        await records.delete(draft.kind, draft.id, None)
        await records.put(draft)


def _run(run_id: str) -> bytes:
    response = msgspec.structs.replace(_response("resp_run"), text="", calls=[CALL])
    run = RunObject(
        id=run_id,
        created_at=1_700_000_000,
        assistant_id=ASSISTANTS[0],
        thread_id=THREAD,
        model="m",
        truncation_strategy={"type": "auto", "last_messages": None},
    )
    return run_written(StoredRun(run=run, turns=[Turn(0.0, response)]))


async def _plant_files(records: Records) -> None:
    """Replace files, uploads and batches. An upload has the part that its completion names."""
    files = FileStore(records, FileOptions())
    contents = await records.contents()
    for group in ("planted", UPLOAD_GROUP):
        await contents.delete(group)
    for group, name in (("planted", "whole"), *((UPLOAD_GROUP, part) for part in PARTS)):
        async with contents.new(group, name) as content:
            await content.write(b"hello")
    data = {"created_at": 1_700_000_000, "filename": "a", "purpose": "batch", "group": "planted"}
    file = msgspec.json.encode({**data, "parts": [{"name": "whole", "size": 5}]})
    request = {"filename": "a", "bytes": 5 * len(PARTS), "mime_type": "text/plain", "purpose": "batch"}
    upload = msgspec.json.encode({"request": request, "group": UPLOAD_GROUP, "created_at": 1_700_000_000})
    wanted = {"input_file_id": "input_file_id", "endpoint": "/v1/responses", "completion_window": "24h"}
    batch = {"request": wanted, "group": "planted", "created_at": 1_700_000_000, "window": 86_400}
    drafts = [
        *(Draft(kind=FILE, id=one, state="batch", data=file) for one in FILES),
        *(Draft(kind=PART_KIND, id=part, parent=UPLOAD, data=b"5") for part in PARTS),
        Draft(kind=UPLOAD_KIND, id=UPLOAD, state="pending", data=upload),
        *(
            Draft(kind=BATCH_KIND, id=one, state="in_progress", data=msgspec.json.encode(batch), due=86_400)
            for one in BATCHES
        ),
    ]
    for draft in drafts:
        await records.delete(draft.kind, draft.id, None)
        await records.put(draft)
    assert (await files.find(FILES[0], "")).size == len(b"hello")


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
