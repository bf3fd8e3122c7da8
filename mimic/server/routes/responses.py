"""Routes of the Responses API: the documentation of its endpoints."""

from typing import Annotated, Final

from litestar import Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg

from mimic.server.error_handlers import error_responses
from mimic.server.guards import SECURITY
from mimic.server.routes.docs import FaultyOperation, LimitedOperation
from mimic.wire.openai.responses import COUNT_PATH, PATH
from mimic.wire.openai.responses.answer import ResponseObject
from mimic.wire.openai.responses.request import InputFields, ResponseParameters
from mimic.wire.openai.responses.wire import TokenCount

EXAMPLE: Final = {"model": "mimic-v3", "input": "Write a haiku about the sea"}


@post(
    PATH,
    status_code=200,
    summary="Create a response",
    tags=["OpenAI"],
    operation_class=FaultyOperation,
    security=SECURITY,
    description="Answers like a chat: the input is a text, or a list of messages, tool calls and their results.",
    responses={
        200: ResponseSpec(
            ResponseObject,
            description="The response; with `stream`, server-sent events.",
            generate_examples=False,
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
    tags=["OpenAI"],
    operation_class=LimitedOperation,
    security=SECURITY,
    description="Counts as the usage of a response does.",
    responses={
        200: ResponseSpec(TokenCount, description="The number of tokens.", generate_examples=False),
        **error_responses(400, 401, 404, 413, 415, 429),
    },
)
async def count_input_tokens(
    data: Annotated[InputFields, BodyKwarg(media_type="application/json", examples=[Example(value=EXAMPLE)])],
) -> Response[None]:
    """Not called: the endpoint answers."""
    raise NotImplementedError
