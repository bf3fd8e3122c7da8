"""The route of moderations: the documentation of its endpoint."""

from typing import Annotated, Final

from litestar import Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg

from mimic.server.error_handlers import error_responses
from mimic.server.routes.docs import LimitedOperation
from mimic.wire.openai.moderations import PATH, ModerationList, ModerationParameters

EXAMPLE: Final = {"input": "Why is the sky blue?"}


@post(
    PATH,
    status_code=200,
    summary="Check texts",
    operation_class=LimitedOperation,
    description=(
        "A stand-in for a moderation model: a text is flagged if it has a word of the list in MIMIC_MODERATION_WORDS. "
        "The same text always gets the same scores. Images are never flagged."
    ),
    responses={
        200: ResponseSpec(ModerationList, description="A result for each input.", generate_examples=False),
        **error_responses(400, 401, 404, 413, 415, 429, 503),
    },
)
async def check_texts(
    data: Annotated[ModerationParameters, BodyKwarg(media_type="application/json", examples=[Example(value=EXAMPLE)])],
) -> Response[None]:
    """Not called: the endpoint answers."""
    raise NotImplementedError
