"""Request bodies: JSON of the handler's type, or an error that says what is wrong and where."""

from functools import lru_cache
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import InternalServerException

from mimic.api.errors import ApiError
from mimic.api.faults import fault_in_body
from mimic.surrogates import lone_surrogates


class JSONRequest(Request[Any, Any, Any]):
    """A request whose body is decoded with our errors, and strictly: "2" is no number."""

    async def body(self) -> bytes:
        """Raises ApiError where the client goes away in the middle."""
        try:
            return await super().body()
        except InternalServerException as exc:
            if exc.detail != "client disconnected prematurely":
                raise
            raise ApiError(499, "The client went away within its body", code="client_closed_request") from None

    async def json(self) -> Any:
        """Raises ApiError with the field, or the byte at which decoding failed."""
        coding = self.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            problem = f"The body is compressed ({coding}); only bodies as they are, are accepted"
            raise ApiError(415, problem, code="unsupported_encoding", headers={"accept-encoding": "identity"})
        body = await self.body()
        field = self.route_handler.parsed_data_field
        try:
            return _decoder(field.annotation if field else Any).decode(body)
        except msgspec.ValidationError as exc:
            fault = fault_in_body(str(exc))
            raise ApiError(400, fault.message, param=fault.param, code=fault.code) from None
        except msgspec.DecodeError as exc:
            lone = next(lone_surrogates(body), None)
            if lone is not None:
                problem = f"it holds a lone surrogate (byte {lone})"
            else:
                problem = str(exc) if "(byte " in str(exc) else f"{exc} (byte {len(body)})"
        except UnicodeDecodeError:
            problem = f"it is not UTF-8 (byte {_first_byte_not_utf8(body)})"
        except RecursionError:
            problem = "it is nested too deeply"
        raise ApiError(400, f"The body is not JSON: {problem}", code="invalid_json")


@lru_cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _first_byte_not_utf8(body: bytes) -> int:
    """Msgspec counts from the start of the string, this from the start of the body."""
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        return exc.start
    return len(body)
