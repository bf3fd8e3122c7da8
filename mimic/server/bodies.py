"""Bodies of requests, read up to a size limit."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.types import Receive

from mimic.errors import RequestError
from mimic.server.codings import codings_in, decompress
from mimic.wire.json import decode

MAX_BYTES: Final = 10_000_000
_threads: Final = ThreadPoolExecutor(2, thread_name_prefix="mimic-bodies")
"""Only two threads, since each thread keeps a part of its memory."""


async def read_body(receive: Receive, length: bytes = b"0", codings: bytes = b"") -> bytes | RequestError:
    """Return the decompressed body of a request, or the error for a body that is too large or damaged.

    ``length`` and ``codings`` are the headers Content-Length and Content-Encoding.
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
    return await _decompress(body, codings.decode("latin-1")) if body and codings else body


async def _decompress(body: bytes, header: str) -> bytes | RequestError:
    try:
        codings = codings_in(header)
        if not codings:
            return body
        # Megabytes on the event loop would delay other requests.
        return await asyncio.get_running_loop().run_in_executor(_threads, decompress, body, codings, MAX_BYTES)
    except RequestError as exc:
        return exc.with_traceback(None)  # the traceback keeps decompressed data until garbage collection


def too_large() -> RequestError:
    """Return the error for a body that is too large."""
    return RequestError(413, "The body is larger than the limit of 10 MB", code="request_too_large")


class JSONRequest(Request[Any, Any, Any]):
    """A request to a Litestar route. Its body is read and decoded in the same way as for endpoints."""

    async def body(self) -> bytes:
        """Return the body. Raises RequestError if it cannot be read."""
        if not isinstance(self._body, bytes):
            length, codings = self.headers.get("content-length", "0"), self.headers.getall("content-encoding", [])
            read = await read_body(self.receive, length.encode(), ",".join(codings).encode("latin-1"))
            if isinstance(read, RequestError):
                raise read
            self._body = read
        return self._body

    async def json(self) -> Any:
        """Decode the body. Raises RequestError, which names the invalid field or byte."""
        field = self.route_handler.parsed_data_field
        return decode(_decoder(field.annotation if field else Any), await self.body())


@lru_cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)
