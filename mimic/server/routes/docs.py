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
from mimic.server.routes.page import ICON, MEDIA_TYPES, NOT_TO_BE_GUESSED, headers_of_documentation
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
"""Names of components that users of the document know, where classes have other names."""

for _kind, _name in COMPONENTS.items():
    _kind.__qualname__ = _name  # by which Litestar names a component
    _kind.__schema_name__ = _name  # type: ignore[attr-defined] # and its title

_TEXT: Final = Schema(type=OpenAPIType.STRING)
_LIMIT_HEADERS: Final = {
    f"x-ratelimit-{name}-{unit}": OpenAPIHeader(
        schema=_TEXT, description=f"Where {setting} limits {unit} in a minute: {meaning}."
    )
    for unit, setting in (("requests", "MIMIC_RPM"), ("tokens", "MIMIC_TPM"))
    for name, meaning in (
        ("limit", "how many"),
        ("remaining", "how many are left"),
        ("reset", "in how long all are there again, as `120ms`, `8.64s` or `1m0s`"),
    )
}


@dataclass
class LimitedOperation(Operation):
    """A route with rate limits: the headers of its answers."""

    def __post_init__(self) -> None:
        self.tell(_LIMIT_HEADERS)

    def tell(self, headers: Mapping[str, OpenAPIHeader]) -> None:
        """Add headers to all answers."""
        for response in (self.responses or {}).values():
            if isinstance(response, OpenAPIResponse):
                response.headers = {**(response.headers or {}), **headers}


@dataclass
class FaultyOperation(LimitedOperation):
    """A route with injected faults: the header that asks for one, and the one that tells of it.

    What it answers may also be a stream.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse) and answer.content:
            answer.content[EVENTS] = OpenAPIMediaType(schema=Schema(description="Server-sent events."))
        asked = Schema(type=OpenAPIType.STRING, pattern=PATTERN, examples=[NONE])
        text = Schema(type=OpenAPIType.STRING, examples=["status=429; retry-after=2"])
        asking = (
            "A fault on purpose: status=NNN, disconnect, stall, malformed, error, slow-headers, empty or none, "
            "with what goes with it, as `stall; after=5; seconds=30`."
        )
        header = Parameter(name=FAULT_HEADER, param_in="header", schema=asked, description=asking)
        self.parameters = [*(self.parameters or ()), header]
        self.tell({FAULT_HEADER: OpenAPIHeader(schema=text, description="The fault that befell the request, if any.")})


def openapi_config() -> OpenAPIConfig:
    """The document's own part: title, security schemes, and the page at /schema."""
    swagger = SwaggerRenderPlugin(
        js_url=f"{ASSETS}/{ASSET_NAMES[0]}",
        css_url=f"{ASSETS}/{ASSET_NAMES[1]}",
        standalone_preset_js_url=f"{ASSETS}/{ASSET_NAMES[2]}",
        favicon=f'<link rel="icon" href="{ICON}" type="image/svg+xml">',
        path="/",
    )
    description = "Answers from real conversations, by indexed lookup."
    secret = SecurityScheme(type="http", scheme="bearer", description="The secret that SEED_SECRET holds.")
    key = SecurityScheme(type="http", scheme="bearer", description="One of the keys that MIMIC_API_KEYS holds, if any.")
    return ExactConfig(
        "Mimic",
        __version__,
        description=description,
        render_plugins=[swagger],
        openapi_router=Router("/schema", route_handlers=[], include_in_schema=False, after_request=_in_one_shape),
        components=Components(security_schemes={SECRET_SCHEME: secret, KEYS_SCHEME: key}),
    )


def _in_one_shape(response: Response[Any]) -> Response[Any]:
    """What Litestar answers below /schema: errors as all others, and the page with headers as the other one."""
    if response.status_code == HTTPStatus.NOT_FOUND:
        return answer(RequestError(HTTPStatus.NOT_FOUND, UNKNOWN, code="unknown_url"))
    response.headers.update(NOT_TO_BE_GUESSED)
    if isinstance(response.content, bytes) and response.media_type == MediaType.HTML:
        response.headers.update(headers_of_documentation(response.content))
    return response


@get(f"{ASSETS}/{{name:str}}", include_in_schema=False)
async def page_asset(name: FromPath[str]) -> File:
    """A file of Swagger UI, so that the page works offline."""
    if name not in ASSET_NAMES:
        raise NotFoundException
    file = Path(str(files("litestar_offline_docs") / "static" / name))
    media_type = MEDIA_TYPES[file.suffix]
    return File(file, media_type=media_type, content_disposition_type="inline", headers=NOT_TO_BE_GUESSED)
