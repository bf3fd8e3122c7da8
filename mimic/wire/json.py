"""JSON bodies: decoded strictly ("2" is no number), with errors that name the problem and its place."""

from math import isfinite
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from mimic.corpus.surrogates import lone_surrogates
from mimic.errors import RequestError
from mimic.wire.violations import violation_in

T = TypeVar("T")

MAX_REREAD: Final = 100_000
"""Bytes of the largest body to decode again for integers written as 2.0."""


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a body. Raises RequestError with the field, or with the byte at which decoding failed."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        problem: Exception = exc
        if "got `float`" in str(exc) and len(body) <= MAX_REREAD:
            try:
                return decoder.decode(msgspec.json.encode(_WITH_INTEGERS.decode(body)))
            except msgspec.ValidationError as other:
                problem = other
            except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError):
                pass
        _refuse(body, problem, decoder.type)


def convert(value: Any, kind: type[T], path: str) -> T:
    """Convert a decoded value at a path of the body. Raises RequestError with the field."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        violation = violation_in(str(exc), kind, path)
        raise RequestError(400, violation.message, param=violation.param, code=violation.code) from None


def _number(text: str) -> int | float:
    """A number by the rules of JSON Schema: 2.0 is an integer. Raises ValueError if it is out of range."""
    number = float(text)
    if not isfinite(number):
        raise ValueError
    return int(number) if number.is_integer() else number


_WITH_INTEGERS: Final = msgspec.json.Decoder(float_hook=_number)


def _refuse(body: bytes, exc: Exception, kind: Any) -> NoReturn:
    if not body:
        raise RequestError(400, "The body is empty; expected a JSON object", code="invalid_json") from None
    if isinstance(exc, msgspec.ValidationError):
        violation = violation_in(str(exc), kind)
        raise RequestError(400, violation.message, param=violation.param, code=violation.code) from None
    raise RequestError(400, f"The body is not JSON: {_problem(body, exc)}", code="invalid_json") from None


def _problem(body: bytes, exc: Exception) -> str:
    if isinstance(exc, UnicodeDecodeError):
        return f"it is not UTF-8 (byte {_first_byte_not_utf8(body)})"
    if isinstance(exc, RecursionError):
        return "it is nested too deeply"
    lone = next(lone_surrogates(body), None)
    if lone is not None:
        return f"it holds a lone surrogate (byte {lone})"
    return str(exc) if "(byte " in str(exc) else f"{exc} (byte {len(body)})"


def _first_byte_not_utf8(body: bytes) -> int:
    """The position from the start of the body; msgspec counts from the start of the string."""
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        return exc.start
    return len(body)
