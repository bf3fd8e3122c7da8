"""Routes of conversations and of their items."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter

from mimic.server.error_handlers import error_responses
from mimic.server.routes.openai.shared import GUARDS, AfterItem, ItemLimit, ItemOrder
from mimic.stored.conversations import ConversationObject, ConversationStore
from mimic.stored.pages import ObjectPage
from mimic.wire.openai.base import created_now
from mimic.wire.openai.responses.items import RawItem
from mimic.wire.openai.sampled import Metadata

PATH: Final = "/v1/conversations"
CONVERSATION_PATH: Final = f"{PATH}/{{conversation_id:str}}"
ITEMS_PATH: Final = f"{CONVERSATION_PATH}/items"
ITEM_PATH: Final = f"{ITEMS_PATH}/{{item_id:str}}"
WITH_METHODS: Final = (CONVERSATION_PATH, ITEMS_PATH, ITEM_PATH)
"""Paths with several methods."""
MOST_ADDED: Final = 20

ConversationId = Annotated[str, PathParameter(description="The id of a conversation.", min_length=1, max_length=200)]
ItemId = Annotated[str, PathParameter(description="The id of an item.", min_length=1, max_length=200)]
NewItems = Annotated[Sequence[RawItem], msgspec.Meta(max_length=MOST_ADDED)]


class NewConversation(msgspec.Struct, frozen=True):
    """Items and metadata of a new conversation."""

    items: NewItems | None = None
    metadata: Metadata | None = None


class ConversationChange(msgspec.Struct, frozen=True):
    """The new metadata of a conversation."""

    metadata: Metadata | None


class AddedItems(msgspec.Struct, frozen=True):
    """Items to append."""

    items: NewItems


class DeletedConversation(msgspec.Struct, frozen=True):
    """The answer to a deletion."""

    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: bool = True


@post(
    PATH,
    status_code=200,
    summary="Create a conversation",
    guards=GUARDS,
    responses=error_responses(400, 401, 413, 415, 503),
)
async def create_conversation(
    data: JSONBody[NewConversation], conversations: NamedDependency[ConversationStore], owner: NamedDependency[str]
) -> ConversationObject:
    """Create a conversation, with up to 20 items."""
    return await conversations.create(data.items or (), data.metadata or {}, owner, created_now())


@get(
    CONVERSATION_PATH,
    summary="Retrieve a conversation",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def retrieve_conversation(
    conversation_id: ConversationId, conversations: NamedDependency[ConversationStore], owner: NamedDependency[str]
) -> ConversationObject:
    """Return a conversation, without its items."""
    return await conversations.get(conversation_id, owner)


@post(
    CONVERSATION_PATH,
    status_code=200,
    summary="Change a conversation",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 413, 415, 503),
)
async def update_conversation(
    conversation_id: ConversationId,
    data: JSONBody[ConversationChange],
    conversations: NamedDependency[ConversationStore],
    owner: NamedDependency[str],
) -> ConversationObject:
    """Replace the metadata of a conversation."""
    return await conversations.update(conversation_id, owner, data.metadata or {})


@delete(
    CONVERSATION_PATH,
    status_code=200,
    summary="Delete a conversation",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def delete_conversation(
    conversation_id: ConversationId, conversations: NamedDependency[ConversationStore], owner: NamedDependency[str]
) -> DeletedConversation:
    """Delete a conversation and its items. Its responses stay."""
    await conversations.delete(conversation_id, owner)
    return DeletedConversation(conversation_id)


@get(
    ITEMS_PATH,
    summary="List the items of a conversation",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def list_items(
    conversation_id: ConversationId,
    conversations: NamedDependency[ConversationStore],
    owner: NamedDependency[str],
    limit: ItemLimit = 20,
    order: ItemOrder = "desc",
    after: AfterItem = None,
) -> ObjectPage:
    """Return a page of the items."""
    return await conversations.page(conversation_id, owner, limit, after, order)


@post(
    ITEMS_PATH,
    status_code=200,
    summary="Add items to a conversation",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 413, 415, 503),
)
async def add_items(
    conversation_id: ConversationId,
    data: JSONBody[AddedItems],
    conversations: NamedDependency[ConversationStore],
    owner: NamedDependency[str],
) -> ObjectPage:
    """Append up to 20 items. Each gets a new id."""
    return await conversations.add(conversation_id, owner, data.items)


@get(
    ITEM_PATH,
    summary="Retrieve an item of a conversation",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def retrieve_item(
    conversation_id: ConversationId,
    item_id: ItemId,
    conversations: NamedDependency[ConversationStore],
    owner: NamedDependency[str],
) -> Response[Any]:
    """Return an item."""
    return Response(await conversations.item(conversation_id, item_id, owner))


@delete(
    ITEM_PATH,
    status_code=200,
    summary="Delete an item of a conversation",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def delete_item(
    conversation_id: ConversationId,
    item_id: ItemId,
    conversations: NamedDependency[ConversationStore],
    owner: NamedDependency[str],
) -> ConversationObject:
    """Delete an item, and return the conversation."""
    return await conversations.delete_item(conversation_id, item_id, owner)


ROUTES: Final = (
    create_conversation,
    retrieve_conversation,
    update_conversation,
    delete_conversation,
    list_items,
    add_items,
    retrieve_item,
    delete_item,
)
