"""Fault injection: the fault of a request, by its header or by chance, and the error for the fault."""

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from http import HTTPStatus
from math import fsum
from random import Random
from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec

from mimic.engine.overrides import FAULT_HEADER, invalid_header
from mimic.errors import RequestError

Kind: TypeAlias = Literal[
    "status", "disconnect", "stall", "malformed", "error", "slow-headers", "empty", "break-tool-call"
]

QUOTA: Final = "insufficient_quota"
NONE: Final = "none"
"""The header value for no fault, whatever the rates are."""
MOST_TOKENS: Final = 1_000_000
MOST_SECONDS: Final = 3600

_BLANK: Final = " \t"

_CODES: Final = {429: "rate_limit_exceeded", 503: "server_is_overloaded", 401: "invalid_api_key"}
_OF_QUOTA: Final = frozenset({QUOTA, "credit_balance_exhausted"})
"""OpenAI's codes of a 429 with another type, where a retry does not help."""
_STATUSES: Final = frozenset(HTTPStatus)


class Fault(msgspec.Struct, frozen=True):
    """A fault: its kind and its parameters; None for a parameter that is not given or not of its kind.

    ``after`` is in tokens, ``seconds`` and ``retry_after`` are in seconds.
    """

    kind: Kind
    status: int | None = None
    after: int | None = None
    seconds: float | None = None
    retry_after: float | None = None
    should_retry: bool | None = None
    type: str | None = None
    code: str | None = None

    def __str__(self) -> str:
        """Return the header value, defaults included."""
        parts = [f"status={self.status}" if self.kind == "status" else self.kind]
        for name in _PARAMETERS[self.kind]:
            value = getattr(self, name.replace("-", "_"))
            if value is not None:
                parts.append(f"{name}={_format_value(value)}")
        return "; ".join(parts)


class Chance(msgspec.Struct, frozen=True):
    """A fault and its rate: the share of requests that get it, from 0 to 1."""

    rate: float
    fault: Fault


def parse_fault(text: str) -> Fault:
    """Parse a header value, such as ``status=429; retry-after=2`` or ``stall; after=5; seconds=30``.

    Raises ValueError, which names the expected value.
    """
    head, *rest = [part.strip(_BLANK) for part in text.split(";")]
    kind, _, status = (part.strip(_BLANK) for part in head.partition("="))
    if kind not in KINDS or (kind == "status") != ("=" in head):
        raise ValueError(f"expected one of {', '.join(_KIND_TEXTS)}, or {NONE}, not {head!r}")
    values: dict[str, Any] = {"status": _STATUS.parse("status", status)} if kind == "status" else {}
    for part in rest:
        name, value = _parse_parameter(kind, part)
        if name in values:
            raise ValueError(f"expected '{name}' once, not twice")
        values[name] = value
    values = {**_DEFAULTS.get(kind, {}), **values}
    return Fault(kind, **{name.replace("-", "_"): value for name, value in values.items()})  # type: ignore[arg-type]


def parse_chances(text: str) -> tuple[Chance, ...]:
    """Parse faults with rates, separated by commas: ``5% status=429; retry-after=1, 0.01 disconnect; after=5``.

    Raises ValueError, also if the sum of the rates is above 1.
    """
    chances = tuple(_parse_chance(part.strip()) for part in text.split(","))
    if fsum(chance.rate for chance in chances) > 1 + 1e-9:
        raise ValueError(f"expected rates of at most 1 (100%) together, not {text!r}")
    return chances


def draw_fault(chances: Sequence[Chance], point: float) -> Fault | None:
    """Return the fault at a point from 0 to 1, on a line divided by the rates in order; None after the last."""
    for chance in chances:
        point -= chance.rate
        if point < 0:
            return chance.fault
    return None


def point_of(seed: int, number: int) -> float:
    """Return a pseudo-random point from 0 to 1. The same seed and request number always give the same point."""
    digest = blake2b(b"%d:%d" % (seed, number), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _parse_chance(text: str) -> Chance:
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)(%?)\s+(.+)", text, re.ASCII)
    rate = float(match[1]) / (100 if match[2] else 1) if match else 2
    if not match or rate > 1:
        raise ValueError(f"expected a rate from 0 to 1 and a fault, as '0.05 status=429' or '5% empty', not {text!r}")
    return Chance(rate, parse_fault(match[3]))


def _parse_parameter(kind: str, text: str) -> tuple[str, object]:
    name, _, value = (part.strip(_BLANK) for part in text.partition("="))
    allowed = _PARAMETERS[kind]
    if name not in allowed:
        expected = f"expected {', '.join(allowed)}" if allowed else "expected nothing"
        raise ValueError(f"{expected} with '{kind}', not {text!r}")
    return name, allowed[name].parse(name, value)


class _Value(msgspec.Struct, frozen=True):
    """A kind of value: its pattern, its description for errors, and its conversion from text."""

    pattern: str
    expected: str
    convert: Callable[[str], object]

    def parse(self, name: str, text: str) -> object:
        """Parse a value. Raises ValueError."""
        if not re.fullmatch(self.pattern, text):
            raise ValueError(f"expected '{name}' to be {self.expected}, not {text!r}")
        return self.convert(text)


def _format_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


KINDS: Final[Sequence[Kind]] = get_args(Kind)
_KIND_TEXTS: Final = ["status=NNN" if kind == "status" else kind for kind in KINDS]
_DEFAULTS: Final[Mapping[str, Mapping[str, object]]] = {
    "disconnect": {"after": 0},
    "stall": {"after": 0, "seconds": 30.0},
    "malformed": {"after": 0},
    "error": {"after": 0},
    "slow-headers": {"seconds": 5.0},
}
_STATUS: Final = _Value("[45][0-9]{2}", "a number from 400 to 599", int)
_TOKENS: Final = _Value("[0-9]{1,6}|0[0-9]{6}|1000000", f"a whole number up to {MOST_TOKENS}", int)
_SECONDS: Final = _Value(
    r"([0-9]{1,3}|[0-2][0-9]{3}|3[0-5][0-9]{2})(\.[0-9]{1,3})?|3600(\.0{1,3})?",
    f"seconds up to {MOST_SECONDS}, as 2 or 0.5",
    float,
)
_TRUTH: Final = _Value("true|false", "true or false", "true".__eq__)
_WORD: Final = _Value("[a-z0-9_]{1,60}", "a word of a-z, 0-9 and _", str)
_PARAMETERS: Final[Mapping[str, Mapping[str, _Value]]] = {
    "status": {"retry-after": _SECONDS, "should-retry": _TRUTH, "type": _WORD, "code": _WORD},
    "disconnect": {"after": _TOKENS},
    "stall": {"after": _TOKENS, "seconds": _SECONDS},
    "malformed": {"after": _TOKENS},
    "error": {"after": _TOKENS, "type": _WORD, "code": _WORD},
    "slow-headers": {"seconds": _SECONDS},
    "empty": {},
    "break-tool-call": {},
}
"""The parameters of each kind."""


def _pattern() -> str:
    """Return the pattern of the header: a kind with its parameters, each at most once."""
    blank, equals = "[ \\t]*", "[ \\t]*=[ \\t]*"
    kinds = []
    for kind, parameters in _PARAMETERS.items():
        head = f"status{equals}{_STATUS.pattern}" if kind == "status" else kind
        values = "|".join(f"{name}{equals}({value.pattern})" for name, value in parameters.items())
        kinds.append(f"{head}({blank};{blank}({values}))*" if values else head)
    twice = f".*;{blank}([a-z-]+){equals}.*;{blank}\\1{equals}"
    return f"^(?!{twice}){blank}({'|'.join((NONE, *kinds))}){blank}$"


PATTERN: Final = _pattern()
"""A regular expression (ECMA-262) for the header, in the OpenAPI document."""


class FaultOptions(msgspec.Struct, frozen=True):
    """Faults with rates, and the seed that makes their order repeatable."""

    chances: tuple[Chance, ...] = ()
    seed: int | None = None


class FaultInjector:
    """Choose the fault of a request: the fault in its header, or else one by chance."""

    def __init__(self, options: FaultOptions) -> None:
        self._chances = options.chances
        self._seed = options.seed
        self._random = Random().random  # noqa: S311 - no secret depends on it
        self.is_on = bool(options.chances)
        """True if requests get faults by chance."""
        self.is_counted = self.is_on and options.seed is not None
        """True if the number of a request determines its fault, so that requests are counted."""

    def named(self, header: str) -> Fault | None:
        """Return the fault in a header. Raises RequestError for an invalid header."""
        if header.strip(_BLANK) == NONE:
            return None
        try:
            return parse_fault(header)
        except ValueError as exc:
            raise invalid_header(FAULT_HEADER, str(exc)) from None

    def by_chance(self, number: int) -> Fault | None:
        """Return the fault by chance, if any. The number of the request counts only with a seed."""
        return draw_fault(self._chances, self._random() if self._seed is None else point_of(self._seed, number))


def injected_error(fault: Fault, status: int = 500) -> RequestError:
    """Return the error for a fault, by default with OpenAI's code for its status."""
    code = fault.code or _CODES.get(status)
    kind = fault.type or (QUOTA if code in _OF_QUOTA else None)
    headers = {}
    if fault.kind == "status" and fault.retry_after is not None:
        headers["retry-after"] = f"{fault.retry_after:g}"
    if fault.kind == "status" and fault.should_retry is not None:
        headers["x-should-retry"] = str(fault.should_retry).lower()
    phrase = HTTPStatus(status).phrase if status in _STATUSES else f"Error {status}"
    return RequestError(status, f"{phrase}: an injected fault ({fault})", kind=kind, code=code, headers=headers)
