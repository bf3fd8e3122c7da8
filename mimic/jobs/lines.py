"""Lines of batches: each is a request through ``handle``, without a connection."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from mimic.errors import RequestError
from mimic.gateway.auth import Keys
from mimic.gateway.context import Gateway, HungUp, Observer, Policy, RequestContext
from mimic.gateway.handle import Endpoint, handle
from mimic.gateway.rate_limits import LimitOptions, RateLimiter
from mimic.stored.batches import StoredBatch, Tally
from mimic.wire.base import EVENTS
from mimic.wire.openai.base import ANSWER_IDENTITY, AnswerIdentity
from mimic.wire.openai.batches import CUT_OFF, EXPIRED, STREAMED, BatchLine, LineError, LineResponse, ResultLine

AWAY: Final = frozenset({"store_unavailable", "records_unavailable"})
"""Codes of failures that pass: the line is repeated."""
SECONDS_BETWEEN_ATTEMPTS: Final = 1.0
UNAVAILABLE: Final = 503


class LineAnswer(msgspec.Struct, frozen=True):
    """The result of a line, and its number and tokens as a tally."""

    line: ResultLine
    tally: Tally


class _Nobody:
    """The client of a line: it has no connection, so it never leaves."""

    async def gone(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def drain(self) -> None:
        pass

    async def hang_up(self) -> None:
        pass

    def headers(self) -> Iterable[tuple[bytes, bytes]]:
        return ()


class _Details(msgspec.Struct, frozen=True):
    code: str | None = None


class _Error(msgspec.Struct, frozen=True):
    error: _Details | None = None


class LineAnswerer:
    """Answers lines. They count for no rate limit; faults, pace and the concurrency limit apply to them.

    ``observe`` makes the observer of a line, given the id of its request.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint], gateway: Gateway, observe: Callable[[str], Observer]) -> None:
        self._endpoints = {path: _unlimited(endpoint) for path, endpoint in endpoints.items()}
        self._gateway = Gateway(
            gateway.ledger,
            Keys((), gateway.keys.guard),
            RateLimiter(LimitOptions()),
            gateway.faults,
            gateway.places,
            gateway.pace,
        )
        self._observe = observe

    async def answer(
        self, line: BatchLine, number: int, batch: StoredBatch, owner: str, is_late: Callable[[], bool]
    ) -> LineAnswer:
        """Answer a line. The same line of the same batch has the same ids, however often it is answered."""
        key = blake2b(f"{batch.id}:{number}".encode(), digest_size=24).hexdigest()
        result_id = f"batch_req_{key[:32]}"
        ANSWER_IDENTITY.set(AnswerIdentity(key, batch.created_at))
        while not is_late():
            result = await self._attempt(line, batch, owner, f"req_{key[:32]}")
            if isinstance(result, LineError):
                return LineAnswer(ResultLine(result_id, line.custom_id, None, result), Tally(failed=1))
            response, tally = result
            if response.status_code != UNAVAILABLE or not _is_away(response.body):
                return LineAnswer(ResultLine(result_id, line.custom_id, response, None), tally)
            await asyncio.sleep(SECONDS_BETWEEN_ATTEMPTS)
        return LineAnswer(ResultLine(result_id, line.custom_id, None, EXPIRED), Tally(failed=1, expired=1))

    async def _attempt(
        self, line: BatchLine, batch: StoredBatch, owner: str, request_id: str
    ) -> tuple[LineResponse, Tally] | LineError:
        """Answer a line once."""
        endpoint, body = self._endpoints[batch.request.endpoint], bytes(line.body)

        async def read() -> bytes | RequestError:
            return body

        async with RequestContext(self._gateway, _Nobody(), self._observe(request_id)) as context:
            context.known.owner = owner
            try:
                reply = await handle(endpoint, read, context)
            except HungUp:
                return CUT_OFF
            if reply.media_type == EVENTS:
                if not isinstance(reply.body, bytes):
                    context.keep_body(reply.body)
                return STREAMED
            if isinstance(reply.body, bytes):
                written = reply.body
            else:
                written = b"".join([part async for part in context.keep_body(reply.body)])
            if not _is_json(written):  # a fault cut it off
                return CUT_OFF
            used = context.usage
            is_answer = reply.status < 400  # noqa: PLR2004 - HTTP
            tally = Tally(
                completed=int(is_answer),
                failed=int(not is_answer),
                input_tokens=used.prompt_tokens if used else 0,
                output_tokens=used.completion_tokens if used else 0,
            )
            return LineResponse(reply.status, request_id, msgspec.Raw(written)), tally


def _unlimited(endpoint: Endpoint) -> Endpoint:
    policy = Policy(faulty=endpoint.policy.faulty, queued=endpoint.policy.queued)
    return msgspec.structs.replace(endpoint, policy=policy)


def _is_json(written: bytes) -> bool:
    try:
        msgspec.json.decode(written)
    except msgspec.MsgspecError:
        return False
    return True


def _is_away(body: msgspec.Raw) -> bool:
    """True if the answer is a failure of the store that passes."""
    error = msgspec.json.decode(body, type=_Error).error
    return error is not None and error.code in AWAY
