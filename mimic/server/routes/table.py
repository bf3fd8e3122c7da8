"""All routes that Litestar answers, and the endpoints among them, in the order of the OpenAPI document."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, Self

from litestar import HttpMethod, Response, Router, route
from litestar.handlers import HTTPRouteHandler
from litestar.types import Scope

from mimic.gateway.context import Gateway
from mimic.gateway.handle import Endpoint
from mimic.server.endpoints import answer_by
from mimic.server.error_handlers import AnyRequest, format_methods
from mimic.server.guards import SECURITY
from mimic.server.observability.requests import UNKNOWN_ROUTE
from mimic.server.routes import corpus, docs, journal, native, page, seeding, status
from mimic.server.routes.openai import (
    assistants,
    batches,
    chats,
    conversations,
    core,
    files,
    moderations,
    responses,
    runs,
    threads,
    uploads,
    webhooks,
)
from mimic.server.routes.openai.run_endpoints import RunEndpoints
from mimic.wire import native as native_wire
from mimic.wire.openai import chat, completions, embeddings
from mimic.wire.openai import responses as responses_format
from mimic.wire.openai.assistants import RUNS
from mimic.wire.openai.moderations import PATH as MODERATIONS

_DOCUMENTED: Final = {
    native_wire.PATH: native.complete,
    chat.PATH: core.complete_chat,
    completions.PATH: core.complete_prompt,
    responses_format.PATH: responses.create_response,
    responses_format.COUNT_PATH: responses.count_input_tokens,
    responses_format.COMPACT_PATH: responses.compact_input,
    embeddings.PATH: core.embed_texts,
    MODERATIONS: moderations.check_texts,
}
"""Handlers of the endpoints, which only the OpenAPI document uses."""
_TYPE_OF_PARAMETER = re.compile(r":\w+\}")
"""The type of a route's parameter, which the template of the route leaves out."""


async def _show_methods(request: AnyRequest) -> Response[None]:
    """Answer with the methods of a path that has several. Litestar would name only the first one."""
    methods = next(
        methods
        for path, methods in request.app.route_handler_method_map.items()
        if _TYPE_OF_PARAMETER.sub("}", path) == request.scope["path_template"]
    )
    return Response(None, headers={"allow": format_methods(methods)})


def _with_methods(*paths: str) -> HTTPRouteHandler:
    """The handler of OPTIONS for some paths."""
    return route(list(paths), http_method=HttpMethod.OPTIONS, status_code=204, include_in_schema=False)(_show_methods)


_BESIDE: Final = {
    chat.PATH: (_with_methods(chat.PATH), chats.list_chats),
    RUNS: (_with_methods(RUNS), runs.list_runs),
}
"""Handlers of other methods on the paths of endpoints."""
_METHODS: Final = _with_methods(seeding.STATUS_PATH, journal.PATH)
_OPENAI_METHODS: Final = _with_methods(
    *(core.MODEL_PATH, chats.COMPLETION_PATH, responses.RESPONSE_PATH),
    *conversations.WITH_METHODS,
    *files.WITH_METHODS,
    *batches.WITH_METHODS,
    *webhooks.WITH_METHODS,
    *assistants.WITH_METHODS,
    *threads.WITH_METHODS,
    *runs.WITH_METHODS,
)
_ROUTES: Final = (
    seeding.start_seeding,
    seeding.last_seeding,
    *page.ROUTES,
    *corpus.ROUTES,
    status.describe_corpus,
    status.health,
    status.ready,
    status.show_metrics,
    journal.recent_requests,
    journal.forget_requests,
    docs.page_asset,
    webhooks.list_deliveries,
)
"""Routes of Mimic that Litestar answers, in the order of the OpenAPI document."""
_OPENAI_ROUTES: Final = (
    core.list_models,
    core.retrieve_model,
    core.delete_model,
    *chats.ROUTES,
    *responses.ROUTES,
    *conversations.ROUTES,
    *files.ROUTES,
    *uploads.ROUTES,
    *batches.ROUTES,
    *webhooks.ROUTES,
    *assistants.ROUTES,
    *threads.ROUTES,
    *runs.ROUTES,
)
"""Routes of OpenAI's API that Litestar answers."""
_DESCRIBED: Final[dict[str, Any]] = {"tags": ["OpenAI"], "security": SECURITY}
"""The description of all routes of OpenAI's API."""


class _Routes(Router):
    """Routes of one application. Litestar would copy a router deeply, since several applications may share one."""

    def __deepcopy__(self, _: object) -> Self:
        return self


def routes(
    endpoints: Iterable[Endpoint], run_endpoints: RunEndpoints, gateway: Gateway
) -> Iterator[HTTPRouteHandler | Router]:
    """Yield all routes. The handler of an endpoint is its documentation; its middleware answers.

    Each request for a run has an endpoint of its own, by the template of its path.
    """
    yield _METHODS
    for endpoint in endpoints:
        handlers = [*_BESIDE.get(endpoint.path, ()), _DOCUMENTED[endpoint.path]]
        described = {} if endpoint.path == native_wire.PATH else _DESCRIBED
        yield _Routes("/", route_handlers=handlers, middleware=[answer_by(endpoint, gateway)], **described)
    for path, endpoint_of in run_endpoints.by_path.items():
        handlers = [*_BESIDE.get(path, ()), runs.DOCUMENTED[path]]
        yield _Routes("/", route_handlers=handlers, middleware=[answer_by(endpoint_of, gateway)], **_DESCRIBED)
    yield from _ROUTES
    yield _Routes("/", route_handlers=[_OPENAI_METHODS, *_OPENAI_ROUTES], **_DESCRIBED)


def route_of(scope: Scope) -> str:
    """The template of the route, not the path: the number of paths is unlimited."""
    return scope.get("path_template") or UNKNOWN_ROUTE
