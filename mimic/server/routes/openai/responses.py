"""Routes of the Responses API: the documentation of its endpoints, and stored responses by their ids."""

from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, PathParameter, QueryParameter
from litestar.response import Stream

from mimic.gateway.delivery import STREAM_HEADERS
from mimic.server.error_handlers import error_responses
from mimic.server.routes.docs import FaultyOperation, LimitedOperation
from mimic.server.routes.openai.shared import GUARDS, AfterItem, ItemLimit, ItemOrder
from mimic.stored.pages import ObjectPage
from mimic.stored.responses import ResponseStore
from mimic.wire.base import EVENTS
from mimic.wire.openai.responses import COMPACT_PATH, COUNT_PATH, PATH
from mimic.wire.openai.responses.answer import ResponseObject
from mimic.wire.openai.responses.compaction import CompactedResponse
from mimic.wire.openai.responses.request import InputFields, ResponseParameters
from mimic.wire.openai.responses.wire import TokenCount

EXAMPLE: Final = {"model": "mimic-v3", "input": "Write a haiku about the sea"}
RESPONSE_PATH: Final = f"{PATH}/{{response_id:str}}"

ResponseId = Annotated[str, PathParameter(description="The id of a stored response.", min_length=1, max_length=200)]


class DeletedResponse(msgspec.Struct, frozen=True):
    """The answer to a deletion."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


@post(
    PATH,
    status_code=200,
    summary="Create a response",
    operation_class=FaultyOperation,
    description="Answers like a chat: the input is a text, or a list of messages, tool calls and their results.",
    responses={
        200: ResponseSpec(
            ResponseObject, description="The response; with `stream`, server-sent events.", generate_examples=False
        ),
        **error_responses(400, 401, 404, 413, 415, 429, 503),
    },
)
async def create_response(
    data: Annotated[ResponseParameters, BodyKwarg(media_type="application/json", examples=[Example(value=EXAMPLE)])],
) -> Response[None]:
    """Not called: the endpoint answers."""
    raise NotImplementedError


@post(
    COUNT_PATH,
    status_code=200,
    summary="Count the tokens of an input",
    operation_class=LimitedOperation,
    description="Counts as the usage of a response does.",
    responses={
        200: ResponseSpec(TokenCount, description="The number of tokens.", generate_examples=False),
        **error_responses(400, 401, 404, 413, 415, 429, 503),
    },
)
async def count_input_tokens(
    data: Annotated[InputFields, BodyKwarg(media_type="application/json", examples=[Example(value=EXAMPLE)])],
) -> Response[None]:
    """Not called: the endpoint answers."""
    raise NotImplementedError


@post(
    COMPACT_PATH,
    status_code=200,
    summary="Compact an input",
    operation_class=LimitedOperation,
    description="Gives one item that stands for the last ten items of an input.",
    responses={
        200: ResponseSpec(CompactedResponse, description="A list with the item.", generate_examples=False),
        **error_responses(400, 401, 404, 413, 415, 429, 503),
    },
)
async def compact_input(
    data: Annotated[InputFields, BodyKwarg(media_type="application/json", examples=[Example(value=EXAMPLE)])],
) -> Response[None]:
    """Not called: the endpoint answers."""
    raise NotImplementedError


@get(
    RESPONSE_PATH,
    summary="Retrieve a response",
    guards=GUARDS,
    description="Gives a stored response in its state at the moment, or its events.",
    responses={
        200: ResponseSpec(
            ResponseObject, description="The response; with `stream`, server-sent events.", generate_examples=False
        ),
        **error_responses(400, 401, 404, 503),
    },
)
async def retrieve_response(
    response_id: ResponseId,
    responses: NamedDependency[ResponseStore],
    owner: NamedDependency[str],
    stream: Annotated[bool, QueryParameter(description="Gives the events of the response.")] = False,
    starting_after: Annotated[
        int, QueryParameter(description="With `stream`: the sequence number of the last event to leave out.", ge=-1)
    ] = -1,
) -> Response[Any]:
    """Return a response, or its events, each at its time."""
    if not stream:
        return Response(await responses.get(response_id, owner))
    events = await responses.stream(response_id, owner, starting_after)
    return Stream(events, media_type=EVENTS, headers=STREAM_HEADERS)


@delete(
    RESPONSE_PATH,
    status_code=200,
    summary="Delete a response",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def delete_response(
    response_id: ResponseId, responses: NamedDependency[ResponseStore], owner: NamedDependency[str]
) -> DeletedResponse:
    """Delete a stored response. Responses that follow it can no longer be continued."""
    await responses.delete(response_id, owner)
    return DeletedResponse(response_id)


@post(
    f"{RESPONSE_PATH}/cancel",
    status_code=200,
    summary="Cancel a response",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def cancel_response(
    response_id: ResponseId, responses: NamedDependency[ResponseStore], owner: NamedDependency[str]
) -> ResponseObject:
    """Cancel a response in the background. A response that has ended stays as it is."""
    return await responses.cancel(response_id, owner)


@get(
    f"{RESPONSE_PATH}/input_items",
    summary="List the input of a response",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def list_input_items(
    response_id: ResponseId,
    responses: NamedDependency[ResponseStore],
    owner: NamedDependency[str],
    limit: ItemLimit = 20,
    order: ItemOrder = "desc",
    after: AfterItem = None,
) -> ObjectPage:
    """Return the own items of a response, without the items of the responses before it."""
    return await responses.input_items(response_id, owner, limit, after, newest_first=order == "desc")


ROUTES: Final = (retrieve_response, delete_response, cancel_response, list_input_items)
