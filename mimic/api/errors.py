"""Every error as HTTP, in the one shape that OpenAI's API has. The only place that maps domain errors to a status."""

import re
from collections.abc import Callable, Mapping
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
    NotSeeded,
    RequestError,
    SeedingInProgress,
    StoreError,
    UnusableStore,
)
from mimic.schemas import VERSIONS

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
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = headers


OUTWARD: Final[Mapping[type[MimicError], str]] = {
    UnusableStore: "The corpus is damaged, or not one of Mimic's. The log says more under the request id.",
    StoreError: "The store of the corpus cannot be used at the moment. The log says more under the request id.",
}
"""What is said of errors whose text names paths or hosts, which are nobody's business outside."""

_RETRY: Final = {"retry-after": "1"}
STATUS: Final[Mapping[type[MimicError], tuple[int, str | None]]] = {
    NoCompletion: (404, None),
    RequestError: (400, None),
    SeedingInProgress: (409, "seeding_in_progress"),
    NotSeeded: (503, "not_seeded"),
    UnusableStore: (503, "store_unusable"),
    StoreError: (503, "store_unavailable"),
}
"""Status and code of domain errors, the most special first. What is not here is a bug when it gets this far."""

_TYPES: Final[Mapping[int, str]] = {
    403: "permission_error",
    500: "server_error",
    503: "service_unavailable_error",
}


_KINDS: Final[Mapping[str, str]] = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
}


def answer(
    status: int,
    message: str,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response[ErrorBody]:
    """An error answer."""
    kind = _TYPES.get(status, "invalid_request_error")
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
    return answer(exc.status, str(exc), exc.param, exc.code, exc.headers)


def answer_invalid_request(request: Request[Any, Any, Any], exc: ValidationException) -> Response[ErrorBody]:
    """What Litestar found wrong with a body or the query; its ``extra`` lists each fault, and the first is told."""
    faults: Any = exc.extra or [{"message": exc.detail}]
    fault = faults[0]
    message, path = fault["message"], fault.get("key", "")
    if fault.get("source") == "body":
        if message == "'data'":
            return answer(400, "The body is empty; expected a JSON object", code="invalid_json")
        path = "" if path == "data" else path
    missing = re.fullmatch(r"Object missing required field `(.+)`", message)
    if missing:
        path = f"{path}.{missing[1]}" if path else missing[1]
        return answer(400, f"Missing required parameter: '{path}'.", path, "missing_required_parameter")
    text, code = described(message, f"'{path}'" if path else "the body")
    if path == "version":
        text += f" Expected one of {', '.join(VERSIONS)}."
    return answer(400, text, path or None, code)


def described(fault: str, where: str) -> tuple[str, str]:
    """A fault that msgspec found, in OpenAI's words and with its code."""
    if found := re.fullmatch(r"Expected `(.+)`, got `(.+)`", fault):
        expected = [_KINDS.get(kind, kind) for kind in sorted(found[1].split(" | "), key=lambda kind: kind == "null")]
        got = _KINDS.get(found[2], found[2])
        return f"Invalid type for {where}: expected {' or '.join(expected)}, but got {got} instead.", "invalid_type"
    if found := re.fullmatch(r"Expected `(int|float)` ([<>]=?) (.+)", fault):
        kind = "integer" if found[1] == "int" else "decimal"
        side, end = ("above", "maximum") if found[2].startswith("<") else ("below", "minimum")
        text = f"Invalid {where}: {kind} {side} {end} value. Expected a value {found[2]} {found[3]}."
        return text, f"{kind}_{side}_{end[:3]}_value"
    if found := re.fullmatch(r"Expected `(array|str)` of length ([<>]=) (\d+)", fault):
        kind = "array" if found[1] == "array" else "string"
        if found[2] == ">=":
            return f"Invalid {where}: the {kind} is empty. Expected a length of at least {found[3]}.", f"empty_{kind}"
        text = f"Invalid {where}: the {kind} is too long. Expected a length of at most {found[3]}."
        return text, f"{kind}_above_max_length"
    return f"Invalid value for {where}: {fault}.", "invalid_value"


def answer_http_exception(request: Request[Any, Any, Any], exc: HTTPException) -> Response[ErrorBody]:
    """What the framework raises by itself: no such route, wrong method, a body that is too large."""
    if exc.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
        return answer_bug(request, exc)
    where = f"{request.method} {request.url.path}"
    phrases = {
        404: (f"Unknown request URL: {where}", "unknown_url"),
        405: (f"Not allowed to {where}", "method_not_allowed"),
        413: ("The body is larger than the 10 MB that are accepted", "request_too_large"),
    }
    message, code = phrases.get(exc.status_code, (exc.detail or HTTPStatus(exc.status_code).phrase, None))
    return answer(exc.status_code, message, code=code, headers=exc.headers)


def answer_bug(request: Request[Any, Any, Any], exc: Exception) -> Response[ErrorBody]:
    """Tell nothing of what happened but where to find it in the log."""
    log.error("bug", request_id=request.state.request_id, path=request.url.path, exc_info=exc)
    return answer(500, "The server had an error while processing your request. Its log has more under the request id.")


EXCEPTION_HANDLERS: Final[dict[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Response[Any]]]] = {
    MimicError: answer_mimic_error,
    ApiError: answer_api_error,
    ValidationException: answer_invalid_request,
    HTTPException: answer_http_exception,
    Exception: answer_bug,
}


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """The error answers of a route, for the OpenAPI document."""
    return {
        status: ResponseSpec(ErrorBody, description=HTTPStatus(status).phrase, generate_examples=False)
        for status in statuses
    }
