"""``POST /conversation/completion``: its documentation. The endpoint answers the requests."""

from typing import Annotated, Final

from litestar import Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, QueryParameter

from mimic.corpus.ladder import Depth
from mimic.corpus.schemas import Version
from mimic.server.error_handlers import error_responses
from mimic.server.guards import SECURITY
from mimic.wire.native import MAX_CHOICES, PATH, NativeCompletion, NativeRequest

EXAMPLE: Final = {"messages": [{"from": "human", "value": "Write a haiku about the sea"}]}


@post(
    PATH,
    status_code=200,
    summary="Next messages",
    tags=["Conversations"],
    security=SECURITY,
    description=(
        "Every message of the corpus that follows the last message (v1, v2) or the last two messages (v3), "
        "matched byte for byte, in corpus order."
    ),
    responses={
        200: ResponseSpec(NativeCompletion, description="The choices.", generate_examples=False),
        **error_responses(400, 401, 404, 413, 415, 503),
    },
)
async def complete(
    data: Annotated[NativeRequest, BodyKwarg(media_type="application/json", examples=[Example(value=EXAMPLE)])],
    version: Annotated[
        Version | None, QueryParameter(description="The schema version (default: MIMIC_VERSION).")
    ] = None,
    limit: Annotated[
        int | None, QueryParameter(description="The maximum number of choices.", ge=1, le=MAX_CHOICES)
    ] = None,
    match: Annotated[
        Depth | None,
        QueryParameter(description="The lowest rung of a match by role, as in /v1 (default: an exact match)."),
    ] = None,
) -> Response[None]:
    """Not called: the endpoint answers."""
    raise NotImplementedError
