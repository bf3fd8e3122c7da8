"""The OpenAPI document, and the page that shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from litestar import Response, Router, get
from litestar.enums import MediaType
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Schema,
    SecurityScheme,
)
from litestar.params import FromPath
from litestar.response import File

from mimic import __version__
from mimic.corpus.excerpts import Snippet
from mimic.corpus.search import SearchHit
from mimic.engine.overrides import FAULT_HEADER
from mimic.errors import RequestError
from mimic.gateway.faults import NONE, PATTERN
from mimic.server.error_handlers import answer
from mimic.server.guards import KEYS_SCHEME
from mimic.server.routes.page import ICON, MEDIA_TYPES, NO_SNIFFING, headers_of_documentation
from mimic.server.routes.schemas import ExactConfig
from mimic.server.routes.seeding import SECRET_SCHEME
from mimic.wire.base import EVENTS
from mimic.wire.native import NativeCompletion, NativeRequest
from mimic.wire.openai.base import OpenAIUsage
from mimic.wire.openai.chat import OpenAIMessage

ASSETS = "/schema-assets"
UNKNOWN = "Unknown request URL. The documentation is at /schema, its OpenAPI document at /schema/openapi.json"
ASSET_NAMES = ("swagger-ui-bundle.js", "swagger-ui.css", "swagger-ui-standalone-preset.js")

COMPONENTS: Final[Mapping[type, str]] = {
    NativeRequest: "CompletionRequest",
    NativeCompletion: "Completion",
    OpenAIMessage: "ChatMessage",
    OpenAIUsage: "Usage",
    SearchHit: "Hit",
    Snippet: "Shown",
}
"""Names of components in the document that differ from the names of their classes."""

for _kind, _name in COMPONENTS.items():
    _kind.__qualname__ = _name  # Litestar's source for the name of a component
    _kind.__schema_name__ = _name  # type: ignore[attr-defined] # and for its title

_TEXT: Final = Schema(type=OpenAPIType.STRING)
_LIMIT_HEADERS: Final = {
    f"x-ratelimit-{name}-{unit}": OpenAPIHeader(
        schema=_TEXT, description=f"If {setting} limits {unit} per minute: {meaning}."
    )
    for unit, setting in (("requests", "MIMIC_RPM"), ("tokens", "MIMIC_TPM"))
    for name, meaning in (
        ("limit", "the limit"),
        ("remaining", "the remaining number"),
        ("reset", "the time until the limit is full again, such as `120ms`, `8.64s` or `1m0s`"),
    )
}


@dataclass
class LimitedOperation(Operation):
    """A route with rate limits, and the headers of its answers."""

    def __post_init__(self) -> None:
        self.add_headers(_LIMIT_HEADERS)

    def add_headers(self, headers: Mapping[str, OpenAPIHeader]) -> None:
        """Add headers to all answers."""
        for response in (self.responses or {}).values():
            if isinstance(response, OpenAPIResponse):
                response.headers = {**(response.headers or {}), **headers}


@dataclass
class FaultyOperation(LimitedOperation):
    """A route with injected faults: the header that requests a fault, and the header of the answer.

    The answer may also be a stream.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse) and answer.content:
            answer.content[EVENTS] = OpenAPIMediaType(schema=Schema(description="Server-sent events."))
        schema = Schema(type=OpenAPIType.STRING, pattern=PATTERN, examples=[NONE])
        text = Schema(type=OpenAPIType.STRING, examples=["status=429; retry-after=2"])
        description = (
            "The fault to inject: status=NNN, disconnect, stall, malformed, error, slow-headers, empty, "
            "break-tool-call or none, with its parameters, such as `stall; after=5; seconds=30`."
        )
        header = Parameter(name=FAULT_HEADER, param_in="header", schema=schema, description=description)
        self.parameters = [*(self.parameters or ()), header]
        self.add_headers({FAULT_HEADER: OpenAPIHeader(schema=text, description="The injected fault, if any.")})


def openapi_config() -> OpenAPIConfig:
    """Return the configuration of the document: title, security schemes, and the page at /schema."""
    swagger = SwaggerRenderPlugin(
        js_url=f"{ASSETS}/{ASSET_NAMES[0]}",
        css_url=f"{ASSETS}/{ASSET_NAMES[1]}",
        standalone_preset_js_url=f"{ASSETS}/{ASSET_NAMES[2]}",
        favicon=f'<link rel="icon" href="{ICON}" type="image/svg+xml">',
        path="/",
    )
    description = "Answers from real conversations, by indexed lookup."
    secret = SecurityScheme(type="http", scheme="bearer", description="The secret in SEED_SECRET.")
    key = SecurityScheme(type="http", scheme="bearer", description="One of the keys in MIMIC_API_KEYS, if any.")
    return ExactConfig(
        "Mimic",
        __version__,
        description=description,
        render_plugins=[swagger],
        openapi_router=Router("/schema", route_handlers=[], include_in_schema=False, after_request=_unify_answer),
        components=Components(security_schemes={SECRET_SCHEME: secret, KEYS_SCHEME: key}),
    )


def _unify_answer(response: Response[Any]) -> Response[Any]:
    """Change Litestar's answers below /schema: errors in the usual format, and the page with the usual headers."""
    if response.status_code == HTTPStatus.NOT_FOUND:
        return answer(RequestError(HTTPStatus.NOT_FOUND, UNKNOWN, code="unknown_url"))
    response.headers.update(NO_SNIFFING)
    if isinstance(response.content, bytes) and response.media_type == MediaType.HTML:
        response.headers.update(headers_of_documentation(response.content))
    return response


@get(f"{ASSETS}/{{name:str}}", include_in_schema=False)
async def page_asset(name: FromPath[str]) -> File:
    """Return a file of Swagger UI, so that the page works offline."""
    if name not in ASSET_NAMES:
        raise NotFoundException
    file = Path(str(files("litestar_offline_docs") / "static" / name))
    media_type = MEDIA_TYPES[file.suffix]
    return File(file, media_type=media_type, content_disposition_type="inline", headers=NO_SNIFFING)
