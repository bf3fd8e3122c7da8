"""Errors in OpenAI's shape, also for Mimic's own routes."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from mimic.errors import RequestError

_TYPES: Final[Mapping[int, str]] = {
    403: "permission_error",
    429: "requests",
    503: "service_unavailable_error",
}


class ErrorDetail(msgspec.Struct, frozen=True):
    """The error. ``param`` is the path of the field at fault, for example ``messages[0].value``."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every error answer."""

    error: ErrorDetail


def error_body(error: RequestError) -> ErrorBody:
    """The body of an error. Its type is the error's kind, or else the type of the status."""
    return ErrorBody(ErrorDetail(str(error), error.kind or type_of(error.status), error.param, error.code))


def type_of(status: int) -> str:
    """OpenAI's error type for a status."""
    by_class = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    return _TYPES.get(status, by_class)
