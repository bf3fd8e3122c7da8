"""Bodies of requests: read within a limit, or the error that says why not."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.types import Receive

from mimic.errors import RequestError
from mimic.server.codings import codings_in, decoded
from mimic.wire.json import decode

MAX_BYTES: Final = 10_000_000
_threads: Final = ThreadPoolExecutor(2, thread_name_prefix="mimic-bodies")
"""Few threads, since each keeps some of the memory that it has once used."""


async def read_body(receive: Receive, length: bytes = b"0", codings: bytes = b"") -> bytes | RequestError:
    """The body of a request, decompressed, or the error that is to be told instead: it is too large, or damaged.

    ``length`` and ``codings`` are its headers Content-Length and Content-Encoding.
    """
    if int(length) > MAX_BYTES:
        return too_large()
    event: Any = await receive()
    body: bytes = event.get("body", b"")
    if event.get("more_body") or len(body) > MAX_BYTES:
        parts, size = [body], len(body)
        while event.get("more_body") and size <= MAX_BYTES:
            event = await receive()
            parts.append(event.get("body", b""))
            size += len(parts[-1])
        if size > MAX_BYTES:
            return too_large()
        body = b"".join(parts)
    if event["type"] == "http.disconnect":
        return RequestError(499, "The client went away within its body", code="client_closed_request")
    return await _decompressed(body, codings.decode("latin-1")) if body and codings else body


async def _decompressed(body: bytes, header: str) -> bytes | RequestError:
    try:
        codings = codings_in(header)
        if not codings:
            return body
        # Megabytes would keep others waiting on the event loop.
        return await asyncio.get_running_loop().run_in_executor(_threads, decoded, body, codings, MAX_BYTES)
    except RequestError as exc:
        return exc.with_traceback(None)  # which holds what was decompressed so far, until the garbage is collected


def too_large() -> RequestError:
    """The error of a body that is too large."""
    return RequestError(413, "The body is larger than the 10 MB that are accepted", code="request_too_large")


class JSONRequest(Request[Any, Any, Any]):
    """A request to one of Litestar's own routes, whose body is read and decoded as those of endpoints are."""

    async def body(self) -> bytes:
        """Raises RequestError where it cannot be read."""
        if not isinstance(self._body, bytes):
            length, codings = self.headers.get("content-length", "0"), self.headers.getall("content-encoding", [])
            read = await read_body(self.receive, length.encode(), ",".join(codings).encode("latin-1"))
            if isinstance(read, RequestError):
                raise read
            self._body = read
        return self._body

    async def json(self) -> Any:
        """Raises RequestError with the field, or the byte at which decoding failed."""
        field = self.route_handler.parsed_data_field
        return decode(_decoder(field.annotation if field else Any), await self.body())


@lru_cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)
