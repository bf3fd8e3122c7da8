"""Errors of Litestar's routes, in the format of OpenAI's API."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from mimic.errors import RequestError
from mimic.gateway.errors import request_error
from mimic.server.observability.requests import record_of
from mimic.server.unknown_urls import hint
from mimic.spelling import shown
from mimic.wire.openai.errors import ErrorBody, error_body
from mimic.wire.violations import allowed_at, is_of_words, violation_at

AnyRequest: TypeAlias = Request[Any, Any, Any]


def answer(error: RequestError) -> Response[ErrorBody]:
    """Return the response for an error."""
    return Response(error_body(error), status_code=error.status, headers=error.headers, media_type="application/json")


def answer_any(request: AnyRequest, exc: Exception) -> Response[ErrorBody]:
    """Answer domain errors by their table. The answer to a bug refers to the log only."""
    return answer(request_error(exc, record_of(request.scope).request_id, request.scope["path"]))


def answer_invalid_request(request: AnyRequest, exc: ValidationException) -> Response[ErrorBody]:
    """Answer a validation error of Litestar with the first problem in its ``extra``."""
    problems: Any = exc.extra or [{"message": exc.detail}]
    message, path = problems[0]["message"], problems[0].get("key", "")
    parameter = request.route_handler.parsed_fn_signature.parameters.get(path)
    allowed = allowed_at(parameter.annotation, "") if parameter and is_of_words(message) else ()
    violation = violation_at(message, path, allowed)
    return answer(RequestError(400, violation.message, param=violation.param, code=violation.code))


def answer_http_exception(request: AnyRequest, exc: HTTPException) -> Response[ErrorBody]:
    """Answer errors of the framework: unknown route, wrong method, too large body."""
    if exc.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
        return answer_any(request, exc)
    path = request.scope["path"]  # request.url fails for an invalid host
    where = f"{request.method} {shown(path)}"
    message, code = exc.detail or HTTPStatus(exc.status_code).phrase, None
    if exc.status_code == HTTPStatus.NOT_FOUND:
        message, code = f"Unknown request URL: {where}{hint(path, _routes_of(request))}", "unknown_url"
    elif exc.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        message, code = f"Not allowed to {where}", "method_not_allowed"
    headers = {name.lower(): value for name, value in (exc.headers or {}).items()}
    if "allow" in headers:
        headers["allow"] = format_methods(headers["allow"].split(", "))
    return answer(RequestError(exc.status_code, message, code=code, headers=headers))


def format_methods(methods: Iterable[str]) -> str:
    """Format methods for the header ``Allow``. GET implies HEAD."""
    return ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))


def _routes_of(request: AnyRequest) -> list[str]:
    """Return the paths of all routes without parameters."""
    return [route.path for route in request.app.routes if "{" not in route.path]


EXCEPTION_HANDLERS: Final[dict[int | type[Exception], Callable[[AnyRequest, Any], Response[Any]]]] = {
    ValidationException: answer_invalid_request,
    HTTPException: answer_http_exception,
    Exception: answer_any,
}


def error_responses(*statuses: int) -> dict[int, ResponseSpec]:
    """Return the error responses of a route, for the OpenAPI document."""
    return {
        status: ResponseSpec(ErrorBody, description=HTTPStatus(status).phrase, generate_examples=False)
        for status in statuses
    }
