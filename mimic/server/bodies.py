"""Bodies of requests: read within a limit, or the error that says why not."""

from functools import lru_cache
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.types import Receive

from mimic.errors import RequestError
from mimic.wire.json import decode

MAX_BYTES: Final = 10_000_000


async def read_body(receive: Receive, length: bytes = b"0", coding: bytes = b"identity") -> bytes | RequestError:
    """The body of a request, or the error that is to be told instead: it is too large, compressed, or cut off.

    ``length`` and ``coding`` are its headers Content-Length and Content-Encoding.
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
    if body and coding.lower() != b"identity":
        return compressed(coding.decode("latin-1"))
    return body


def too_large() -> RequestError:
    """The error of a body that is too large."""
    return RequestError(413, "The body is larger than the 10 MB that are accepted", code="request_too_large")


def compressed(coding: str) -> RequestError:
    """The error of a body that is compressed."""
    problem = f"The body is compressed ({coding}); only bodies as they are, are accepted"
    return RequestError(415, problem, code="unsupported_encoding", headers={"accept-encoding": "identity"})


class JSONRequest(Request[Any, Any, Any]):
    """A request to one of Litestar's own routes, whose body is read and decoded as those of endpoints are."""

    async def body(self) -> bytes:
        """Raises RequestError where it cannot be read."""
        if not isinstance(self._body, bytes):
            length, coding = (self.headers.get(name) for name in ("content-length", "content-encoding"))
            read = await read_body(self.receive, (length or "0").encode(), (coding or "identity").encode("latin-1"))
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
