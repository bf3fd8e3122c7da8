"""Routes of threads and of their messages."""

from typing import Annotated, Final, Literal

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter

from mimic.server.error_handlers import error_responses
from mimic.server.routes.openai.assistants import BeforeItem, Version, answer_in
from mimic.server.routes.openai.shared import GUARDS, AfterItem, ItemLimit, ItemOrder
from mimic.stored.pages import ObjectPage
from mimic.stored.threads import ThreadStore
from mimic.wire.openai.assistants import THREADS
from mimic.wire.openai.assistants.objects import MessageObject, NewMessage, ThreadObject
from mimic.wire.openai.assistants.threads import MetadataChange, NewThread, ThreadChange

THREAD_PATH: Final = f"{THREADS}/{{thread_id:str}}"
MESSAGES_PATH: Final = f"{THREAD_PATH}/messages"
MESSAGE_PATH: Final = f"{MESSAGES_PATH}/{{message_id:str}}"
WITH_METHODS: Final = (THREAD_PATH, MESSAGES_PATH, MESSAGE_PATH)
"""Paths with several methods."""

ThreadId = Annotated[str, PathParameter(description="The id of a thread.", min_length=1, max_length=200)]
MessageId = Annotated[str, PathParameter(description="The id of a message.", min_length=1, max_length=200)]


class DeletedThread(msgspec.Struct, frozen=True):
    """The answer to a deletion."""

    id: str
    object: Literal["thread.deleted"] = "thread.deleted"
    deleted: bool = True


class DeletedMessage(msgspec.Struct, frozen=True):
    """The answer to a deletion."""

    id: str
    object: Literal["thread.message.deleted"] = "thread.message.deleted"
    deleted: bool = True


@post(
    THREADS,
    status_code=200,
    summary="Create a thread",
    guards=GUARDS,
    responses=error_responses(400, 401, 413, 415, 503),
)
async def create_thread(
    threads: NamedDependency[ThreadStore],
    owner: NamedDependency[str],
    beta: Version,
    data: JSONBody[NewThread | None] = None,
) -> Response[ThreadObject]:
    """Create a thread, with its messages."""
    return answer_in(await threads.create(data or NewThread(), owner), beta)


@get(
    THREAD_PATH,
    summary="Retrieve a thread",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def retrieve_thread(
    thread_id: ThreadId, threads: NamedDependency[ThreadStore], owner: NamedDependency[str], beta: Version
) -> Response[ThreadObject]:
    """Return a thread, without its messages."""
    return answer_in(await threads.get(thread_id, owner), beta)


@post(
    THREAD_PATH,
    status_code=200,
    summary="Change a thread",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 413, 415, 503),
)
async def update_thread(
    thread_id: ThreadId,
    data: JSONBody[ThreadChange],
    threads: NamedDependency[ThreadStore],
    owner: NamedDependency[str],
    beta: Version,
) -> Response[ThreadObject]:
    """Replace the metadata, or the resources of tools, of a thread."""
    return answer_in(await threads.update(thread_id, owner, **data.fields()), beta)


@delete(
    THREAD_PATH,
    status_code=200,
    summary="Delete a thread",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def delete_thread(
    thread_id: ThreadId, threads: NamedDependency[ThreadStore], owner: NamedDependency[str], beta: Version
) -> DeletedThread:
    """Delete a thread, its messages and its runs."""
    await threads.delete(thread_id, owner)
    return DeletedThread(thread_id)


@post(
    MESSAGES_PATH,
    status_code=200,
    summary="Add a message to a thread",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 413, 415, 503),
)
async def add_message(
    thread_id: ThreadId,
    data: JSONBody[NewMessage],
    threads: NamedDependency[ThreadStore],
    owner: NamedDependency[str],
    beta: Version,
) -> Response[MessageObject]:
    """Add a message. While a run is active on the thread, the answer is a 400."""
    return answer_in(await threads.add(thread_id, data, owner), beta)


@get(
    MESSAGES_PATH,
    summary="List the messages of a thread",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def list_thread_messages(
    thread_id: ThreadId,
    threads: NamedDependency[ThreadStore],
    owner: NamedDependency[str],
    beta: Version,
    limit: ItemLimit = 20,
    order: ItemOrder = "desc",
    after: AfterItem = None,
    before: BeforeItem = None,
    run_id: Annotated[str | None, QueryParameter(description="Only the messages of this run.")] = None,
) -> ObjectPage:
    """Return a page of the messages, the newest first."""
    return await threads.messages(thread_id, owner, limit, after, before, order, run_id, beta)


@get(
    MESSAGE_PATH,
    summary="Retrieve a message of a thread",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def retrieve_message(
    thread_id: ThreadId,
    message_id: MessageId,
    threads: NamedDependency[ThreadStore],
    owner: NamedDependency[str],
    beta: Version,
) -> Response[MessageObject]:
    """Return a message."""
    return answer_in(await threads.message(thread_id, message_id, owner), beta)


@post(
    MESSAGE_PATH,
    status_code=200,
    summary="Change a message of a thread",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 413, 415, 503),
)
async def update_message(
    thread_id: ThreadId,
    message_id: MessageId,
    data: JSONBody[MetadataChange],
    threads: NamedDependency[ThreadStore],
    owner: NamedDependency[str],
    beta: Version,
) -> Response[MessageObject]:
    """Replace the metadata of a message."""
    return answer_in(await threads.update_message(thread_id, message_id, owner, **data.fields()), beta)


@delete(
    MESSAGE_PATH,
    status_code=200,
    summary="Delete a message of a thread",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def delete_message(
    thread_id: ThreadId,
    message_id: MessageId,
    threads: NamedDependency[ThreadStore],
    owner: NamedDependency[str],
    beta: Version,
) -> DeletedMessage:
    """Delete a message."""
    await threads.delete_message(thread_id, message_id, owner)
    return DeletedMessage(message_id)


ROUTES: Final = (
    create_thread,
    retrieve_thread,
    update_thread,
    delete_thread,
    add_message,
    list_thread_messages,
    retrieve_message,
    update_message,
    delete_message,
)
