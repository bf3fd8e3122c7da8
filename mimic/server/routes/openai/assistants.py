"""Routes of assistants."""

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import HeaderParameter, JSONBody, PathParameter, QueryParameter

from mimic.server.error_handlers import error_responses
from mimic.server.routes.openai.run_endpoints import beta_header
from mimic.server.routes.openai.shared import GUARDS, AfterItem, ItemLimit, ItemOrder
from mimic.stored.assistants import AssistantStore
from mimic.stored.pages import ObjectPage
from mimic.wire.openai.assistants import ASSISTANTS
from mimic.wire.openai.assistants.beta import HEADER, Beta, beta_of, shown
from mimic.wire.openai.assistants.objects import AssistantFields, AssistantObject

ASSISTANT_PATH: Final = f"{ASSISTANTS}/{{assistant_id:str}}"
WITH_METHODS: Final = (ASSISTANTS, ASSISTANT_PATH)
"""Paths with several methods."""

AssistantId = Annotated[str, PathParameter(description="The id of an assistant.", min_length=1, max_length=200)]
BeforeItem = Annotated[str | None, QueryParameter(description="The id of the item after the page.")]
BetaHeader = Annotated[
    str,
    HeaderParameter(
        name=HEADER,
        description="The version of the API, which is required: `assistants=v2` or `assistants=v1`.",
        examples=[Example(value="assistants=v2")],
    ),
]
Version: TypeAlias = NamedDependency[Beta]


class DeletedAssistant(msgspec.Struct, frozen=True):
    """The answer to a deletion."""

    id: str
    object: Literal["assistant.deleted"] = "assistant.deleted"
    deleted: bool = True


def beta_in(request: Request[Any, Any, Any], openai_beta: BetaHeader = "") -> Beta:
    """The version of the API that a request wants. Raises RequestError.

    The parameter is for the OpenAPI document: of several headers it has one.
    """
    return beta_of(beta_header(request.scope))


def answer_in(found: msgspec.Struct, beta: Beta) -> Response[Any]:
    """The answer with an object."""
    return Response(shown(found, beta), status_code=200)


@post(
    ASSISTANTS,
    status_code=200,
    summary="Create an assistant",
    guards=GUARDS,
    description="Built-in tools are accepted and not run. Needs the header `OpenAI-Beta: assistants=v2`, or `v1`.",
    responses=error_responses(400, 401, 413, 415, 503),
)
async def create_assistant(
    data: JSONBody[AssistantFields],
    assistants: NamedDependency[AssistantStore],
    owner: NamedDependency[str],
    beta: Version,
) -> Response[AssistantObject]:
    """Create an assistant."""
    return answer_in(await assistants.create(data, owner), beta)


@get(
    ASSISTANTS,
    summary="List the assistants",
    guards=GUARDS,
    responses=error_responses(400, 401, 503),
)
async def list_assistants(
    assistants: NamedDependency[AssistantStore],
    owner: NamedDependency[str],
    beta: Version,
    limit: ItemLimit = 20,
    order: ItemOrder = "desc",
    after: AfterItem = None,
    before: BeforeItem = None,
) -> ObjectPage:
    """Return a page of the stored assistants."""
    return await assistants.page(owner, limit, after, before, order, beta)


@get(
    ASSISTANT_PATH,
    summary="Retrieve an assistant",
    guards=GUARDS,
    description=(
        "An unknown id gives an assistant without instructions, as an unknown model is accepted. An id of Mimic's own "
        "form that is not stored is a 404, and with `MIMIC_STRICT_MODELS` every unknown id."
    ),
    responses=error_responses(400, 401, 404, 503),
)
async def retrieve_assistant(
    assistant_id: AssistantId,
    assistants: NamedDependency[AssistantStore],
    owner: NamedDependency[str],
    beta: Version,
) -> Response[AssistantObject]:
    """Return an assistant."""
    return answer_in(await assistants.get(assistant_id, owner), beta)


@post(
    ASSISTANT_PATH,
    status_code=200,
    summary="Change an assistant",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 413, 415, 503),
)
async def update_assistant(
    assistant_id: AssistantId,
    data: JSONBody[AssistantFields],
    assistants: NamedDependency[AssistantStore],
    owner: NamedDependency[str],
    beta: Version,
) -> Response[AssistantObject]:
    """Replace the given fields of a stored assistant."""
    return answer_in(await assistants.update(assistant_id, data, owner), beta)


@delete(
    ASSISTANT_PATH,
    status_code=200,
    summary="Delete an assistant",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def delete_assistant(
    assistant_id: AssistantId,
    assistants: NamedDependency[AssistantStore],
    owner: NamedDependency[str],
    beta: Version,
) -> DeletedAssistant:
    """Delete a stored assistant."""
    await assistants.delete(assistant_id, owner)
    return DeletedAssistant(assistant_id)


ROUTES: Final = (create_assistant, list_assistants, retrieve_assistant, update_assistant, delete_assistant)
