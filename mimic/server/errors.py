"""Every error as HTTP, in the one shape that OpenAI's API has. The only place that maps domain errors to a status."""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from mimic.errors import (
    MimicError,
    NoCompletion,
    NoConversation,
    NotSeeded,
    RequestError,
    RungNotSeeded,
    SeedingInProgress,
    StoreError,
    UnusableStore,
)
from mimic.wire.violations import described

log = structlog.get_logger("mimic")


class ErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong; ``param`` is the path of the field to blame, as ``messages[0].value``."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every error answer."""

    error: ErrorDetail


class ApiError(Exception):
    """An error that only makes sense over HTTP."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = headers
        self.kind = kind


OPENAI_PATHS: Final = frozenset({"/chat/completions", "/completions", "/embeddings", "/models"})

OUTWARD: Final[Mapping[type[MimicError], str]] = {
    UnusableStore: "The corpus is damaged, or not of this version of Mimic. The log says more under the request id.",
    StoreError: "The store of the corpus cannot be used at the moment. The log says more under the request id.",
}
"""What is said of errors whose text names paths or hosts, which are nobody's business outside."""

_RETRY: Final = {"retry-after": "1"}
STATUS: Final[Mapping[type[MimicError], tuple[int, str | None]]] = {
    NoCompletion: (404, None),
    NoConversation: (404, None),
    RequestError: (400, None),
    SeedingInProgress: (409, "seeding_in_progress"),
    RungNotSeeded: (503, "rung_not_seeded"),
    NotSeeded: (503, "not_seeded"),
    UnusableStore: (503, "store_unusable"),
    StoreError: (503, "store_unavailable"),
}
"""Status and code of domain errors, the most special first. What is not here is a bug when it gets this far."""

_TYPES: Final[Mapping[int, str]] = {
    403: "permission_error",
    429: "requests",
    503: "service_unavailable_error",
}


def type_of(status: int) -> str:
    """OpenAI's type for an error with that status."""
    by_class = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    return _TYPES.get(status, by_class)


def answer(
    status: int,
    message: str,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
    kind: str | None = None,
) -> Response[ErrorBody]:
    """An error answer; its ``kind`` is OpenAI's ``type``, by default that of the status."""
    kind = kind or type_of(status)
    headers = {**(_RETRY if status == HTTPStatus.SERVICE_UNAVAILABLE else {}), **(headers or {})}
    body = ErrorBody(ErrorDetail(message, kind, param, code))
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def answer_mimic_error(request: Request[Any, Any, Any], exc: MimicError) -> Response[ErrorBody]:
    """A domain error, by the table."""
    for kind, (status, code) in STATUS.items():
        if isinstance(exc, kind):
            if isinstance(exc, StoreError) and not isinstance(exc, NotSeeded):
                log.error(
                    "store failed", request_id=request.state.request_id, error=str(exc), cause=repr(exc.__cause__)
                )
            if isinstance(exc, RequestError):
                return answer(status, str(exc), exc.param, exc.code)
            return answer(status, OUTWARD.get(kind, str(exc)), code=code)
    return answer_bug(request, exc)


def answer_api_error(request: Request[Any, Any, Any], exc: ApiError) -> Response[ErrorBody]:
    """An error that knows its status."""
    return answer(exc.status, str(exc), exc.param, exc.code, exc.headers, exc.kind)


def answer_invalid_request(request: Request[Any, Any, Any], exc: ValidationException) -> Response[ErrorBody]:
    """What Litestar found wrong with the query or the body; its ``extra`` lists each fault, and the first is told."""
    faults: Any = exc.extra or [{"message": exc.detail}]
    message, path = faults[0]["message"], faults[0].get("key", "")
    if message == "'data'":
        return answer(400, "The body is empty; expected a JSON object", code="invalid_json")
    fault = described(message, path)
    return answer(400, fault.message, fault.param, fault.code)


def answer_http_exception(request: Request[Any, Any, Any], exc: HTTPException) -> Response[ErrorBody]:
    """What the framework raises by itself: no such route, wrong method, a body that is too large."""
    if exc.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
        return answer_bug(request, exc)
    path = request.scope["path"]  # the URL may have a host that is none
    where = f"{request.method} {path}"
    phrases = {
        404: (f"Unknown request URL: {where}{_hint(path)}", "unknown_url"),
        405: (f"Not allowed to {where}", "method_not_allowed"),
        413: ("The body is larger than the 10 MB that are accepted", "request_too_large"),
    }
    message, code = phrases.get(exc.status_code, (exc.detail or HTTPStatus(exc.status_code).phrase, None))
    headers = {name.lower(): value for name, value in (exc.headers or {}).items()}
    if "allow" in headers:
        headers["allow"] = listed(headers["allow"].split(", "))
    return answer(exc.status_code, message, code=code, headers=headers)


def listed(methods: Iterable[str]) -> str:
    """Methods as the header ``Allow`` has them; HEAD is one wherever GET is."""
    return ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))


def _hint(path: str) -> str:
    """What a client may have meant whose base URL lacks the version of OpenAI's API."""
    return f". Did you mean /v1{path}?" if path in OPENAI_PATHS else ""


def answer_bug(request: Request[Any, Any, Any], exc: Exception) -> Response[ErrorBody]:
    """Tell nothing of what happened but where to find it in the log."""
    log.error("bug", request_id=request.state.request_id, path=request.scope["path"], exc_info=exc)
    return answer(500, "The server had an error while processing your request. Its log has more under the request id.")


EXCEPTION_HANDLERS: Final[dict[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Response[Any]]]] = {
    MimicError: answer_mimic_error,
    ApiError: answer_api_error,
    ValidationException: answer_invalid_request,
    HTTPException: answer_http_exception,
    Exception: answer_bug,
}


def answer_exception(request: Request[Any, Any, Any], exc: Exception) -> Response[Any]:
    """Any error, by the first of these handlers that is for it: the last one is for all."""
    return next(handler for kind, handler in EXCEPTION_HANDLERS.items() if isinstance(exc, kind))(request, exc)  # type: ignore[arg-type]


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """The error answers of a route, for the OpenAPI document."""
    return {
        status: ResponseSpec(ErrorBody, description=HTTPStatus(status).phrase, generate_examples=False)
        for status in statuses
    }
