"""Answers at the pace of a model: when each token is due, by the settings and by the headers of a request."""

import asyncio
from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Any, Final

from litestar import Request

from mimic.gateway.faults import Fault
from mimic.gateway.pacing import INSTANT, PACES, Delay, Pace, parse_delay
from mimic.server.errors import ApiError
from mimic.settings import Settings

PACE_HEADER: Final = "x-mimic-pace"
FIRST_HEADER: Final = "x-mimic-ttft-ms"
BETWEEN_HEADER: Final = "x-mimic-itl-ms"

_random = Random()  # noqa: S311 - nobody is to be kept from guessing it


def due_of(request: Request[Any, Any, Any], settings: Settings) -> Iterator[float] | None:
    """When each token of the answer is due, by the event loop's clock; None where nothing has to be waited for.

    Raises ApiError where a header does not parse.
    """
    pace = pace_of(request, settings)
    fault: Fault | None = request.scope["state"].get("mood")
    held_up = fault.seconds or 0.0 if fault and fault.kind == "slow-headers" else 0.0
    if pace == INSTANT and not held_up:
        return None
    began = request.state.began + held_up
    stretch = 1 + settings.load_factor * (request.state.in_flight - 1)
    return (began + moment for moment in pace.moments(_random, stretch))


def pace_of(request: Request[Any, Any, Any], settings: Settings) -> Pace:
    """The pace that a request asks for, else that of the settings. Raises ApiError where a header does not parse."""
    named = request.headers.get(PACE_HEADER)
    if named is not None and named not in PACES:
        raise _bad(PACE_HEADER, f"expected one of {', '.join(PACES)}, not {named!r}")
    if named is not None:
        pace = PACES[named]
    else:
        pace = PACES[settings.pace]
        pace = Pace(settings.ttft_ms or pace.first, settings.itl_ms or pace.between)
    return Pace(
        _delay(request, FIRST_HEADER) or pace.first,
        _delay(request, BETWEEN_HEADER) or pace.between,
    )


async def wait_for_last(request: Request[Any, Any, Any], due: Iterator[float] | None, tokens: int) -> None:
    """Wait until so many tokens would have been streamed. Raises ApiError where the client does not."""
    if due is not None:
        await wait_until(request, next(islice(due, max(tokens - 1, 0), None)))


async def wait_until(request: Request[Any, Any, Any], moment: float) -> None:
    """Raises ApiError where the client goes away meanwhile: who nobody waits for costs nothing more."""
    try:
        async with asyncio.timeout_at(moment):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return
    raise ApiError(499, "The client went away before its answer was due", code="client_closed_request")


def _delay(request: Request[Any, Any, Any], header: str) -> Delay | None:
    text = request.headers.get(header)
    try:
        return None if text is None else parse_delay(text.strip())
    except ValueError as exc:
        raise _bad(header, str(exc)) from None


def _bad(header: str, problem: str) -> ApiError:
    return ApiError(400, f"Invalid header '{header}': {problem}.", param=header, code="invalid_value")
