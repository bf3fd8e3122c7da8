"""``/conversation/completion``: Mimic's own format. An answer has every message that came next."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Final
from urllib.parse import parse_qsl

import msgspec

from mimic.corpus.conversation import Choice, Message
from mimic.corpus.ladder import Depth, MatchPolicy
from mimic.corpus.schemas import VERSIONS, Version
from mimic.engine.base import Continuations, ContinuationsRequest, Known
from mimic.engine.overrides import Overrides
from mimic.errors import RequestError
from mimic.wire.base import Wire
from mimic.wire.json import decode
from mimic.wire.openai.errors import error_body
from mimic.wire.violations import violation_in

PATH: Final = "/conversation/completion"
MAX_CHOICES: Final = 1_000_000_000

_encode: Final = msgspec.json.Encoder().encode


class NativeRequest(msgspec.Struct, frozen=True):
    """The conversation so far. v1 and v2 match the last message, v3 the last two."""

    messages: Annotated[Sequence[Message], msgspec.Meta(min_length=1)]


class NativeCompletion(msgspec.Struct, frozen=True):
    """Every message that came next, in corpus order, with duplicates."""

    choices: Sequence[Message]


class NativeQuery(msgspec.Struct, frozen=True):
    """The query string: a version, the most choices, and the lowest rung to match as in ``/v1``."""

    version: Version | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHOICES)] | None = None
    match: Depth | None = None


class NativeWire(Wire[ContinuationsRequest, Continuations]):
    """Mimic's own format; its errors have OpenAI's shape."""

    def __init__(self, version: Version, policy: MatchPolicy) -> None:
        """``policy`` has the options of matching; each request names its depth."""
        self._policy = policy
        self._version = version
        self._decoder = msgspec.json.Decoder(NativeRequest)
        versions: Mapping[bytes, Version] = {b"version=%s" % known.encode(): known for known in VERSIONS}
        self._queries = {b"": NativeQuery(), **{query: NativeQuery(known) for query, known in versions.items()}}

    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> ContinuationsRequest:
        data = decode(self._decoder, body)
        options = self._queries.get(query) or _parse_query(query)
        known.version = version = options.version or self._version
        policy = msgspec.structs.replace(self._policy, depth=options.match) if options.match else None
        return ContinuationsRequest(data.messages, version, options.limit, policy)

    def whole(self, request: ContinuationsRequest, result: Continuations) -> bytes | AsyncIterator[bytes]:
        """The body in one piece, or in a piece for each batch if there are several."""
        if result.batches.rest is None:
            return _encode(NativeCompletion([choice.message for choice in result.batches.first]))
        return _pieces(result)

    def error(self, error: RequestError) -> bytes:
        return msgspec.json.encode(error_body(error))


async def _pieces(result: Continuations) -> AsyncIterator[bytes]:
    yield b'{"choices":[' + _inner(result.batches.first)
    rest = result.batches.rest
    if rest is not None:
        async with aclosing(rest):
            async for batch in rest:
                yield b"," + _inner(batch)
    yield b"]}"


def _inner(choices: Sequence[Choice]) -> bytes:
    """Choices as JSON, without the brackets."""
    return msgspec.json.encode([choice.message for choice in choices])[1:-1]


def _parse_query(query: bytes) -> NativeQuery:
    """Parse a query string. Raises RequestError."""
    fields = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    try:
        return msgspec.convert(fields, NativeQuery, strict=False)
    except msgspec.ValidationError as exc:
        violation = violation_in(str(exc), NativeQuery)
        raise RequestError(400, violation.message, param=violation.param, code=violation.code) from None
