"""Request bodies: JSON, or an error that says where they stop being it."""

from typing import Any

import msgspec
from litestar import Request

from mimic.api.errors import ApiError
from seed.escapes import lone_surrogates


class JSONRequest(Request[Any, Any, Any]):
    """A request whose body is decoded with our errors."""

    async def json(self) -> Any:
        """Raises ApiError with the byte at which decoding failed."""
        body = await self.body()
        try:
            return msgspec.json.decode(body)
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


def _first_byte_not_utf8(body: bytes) -> int:
    """Msgspec counts from the start of the string, this from the start of the body."""
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        return exc.start
    return len(body)
