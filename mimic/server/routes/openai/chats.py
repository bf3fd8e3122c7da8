"""Routes of stored chat completions."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter

from mimic.server.error_handlers import error_responses
from mimic.server.routes.openai.shared import GUARDS
from mimic.stored.chats import ChatStore, StoredChat
from mimic.stored.pages import ObjectPage
from mimic.wire.openai.chat import PATH
from mimic.wire.openai.sampled import Metadata

COMPLETION_PATH: Final = f"{PATH}/{{completion_id:str}}"
MOST: Final = 100
_FILTER: Final = "metadata["

CompletionId = Annotated[
    str, PathParameter(description="The id of a stored chat completion.", min_length=1, max_length=200)
]
Limit = Annotated[int, QueryParameter(description="The maximum number of objects.", ge=0, le=MOST)]
Ordering = Annotated[
    Literal["asc", "desc"], QueryParameter(description="The order of the list: `desc` begins with the last one.")
]
After = Annotated[str | None, QueryParameter(description="The id of the object before the page.")]


class ChatChange(msgspec.Struct, frozen=True):
    """The new metadata of a chat completion."""

    metadata: Metadata | None


class DeletedChat(msgspec.Struct, frozen=True):
    """The answer to a deletion."""

    id: str
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    deleted: bool = True


@get(
    PATH,
    summary="List stored chat completions",
    guards=GUARDS,
    description="Lists chat completions of requests with `store: true`. `metadata[KEY]=VALUE` filters them as well.",
    responses=error_responses(400, 401, 503),
)
async def list_chats(
    request: Request[Any, Any, Any],
    chats: NamedDependency[ChatStore],
    owner: NamedDependency[str],
    model: Annotated[str | None, QueryParameter(description="Only completions of this model.")] = None,
    limit: Limit = 20,
    order: Ordering = "asc",
    after: After = None,
) -> ObjectPage:
    """Return a page of the completions."""
    metadata = {
        name.removeprefix(_FILTER).removesuffix("]"): value
        for name, value in request.query_params.multi_items()
        if name.startswith(_FILTER)
    }
    return await chats.page(owner, limit, after, order, lambda stored: _matches(stored, model, metadata))


def _matches(stored: StoredChat, model: str | None, metadata: Mapping[str, str]) -> bool:
    return model in {None, stored.completion["model"]} and metadata.items() <= stored.metadata.items()


@get(
    COMPLETION_PATH,
    summary="Retrieve a stored chat completion",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def retrieve_chat(
    completion_id: CompletionId, chats: NamedDependency[ChatStore], owner: NamedDependency[str]
) -> Response[Any]:
    """Return a completion, with its metadata."""
    return Response(await chats.get(completion_id, owner))


@post(
    COMPLETION_PATH,
    status_code=200,
    summary="Change a stored chat completion",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 413, 415, 503),
)
async def update_chat(
    completion_id: CompletionId,
    data: JSONBody[ChatChange],
    chats: NamedDependency[ChatStore],
    owner: NamedDependency[str],
) -> Response[Any]:
    """Replace the metadata of a completion."""
    return Response(await chats.update(completion_id, owner, data.metadata or {}), status_code=200)


@delete(
    COMPLETION_PATH,
    status_code=200,
    summary="Delete a stored chat completion",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def delete_chat(
    completion_id: CompletionId, chats: NamedDependency[ChatStore], owner: NamedDependency[str]
) -> DeletedChat:
    """Delete a completion."""
    await chats.delete(completion_id, owner)
    return DeletedChat(completion_id)


@get(
    f"{COMPLETION_PATH}/messages",
    summary="List the messages of a stored chat completion",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def list_messages(
    completion_id: CompletionId,
    chats: NamedDependency[ChatStore],
    owner: NamedDependency[str],
    limit: Limit = 20,
    order: Ordering = "asc",
    after: After = None,
) -> ObjectPage:
    """Return a page of the messages of the request."""
    return await chats.messages(completion_id, owner, limit, after, order)


ROUTES: Final = (retrieve_chat, update_chat, delete_chat, list_messages)
