"""Request bodies: JSON, or an error that says where they stop being it."""

from typing import Any

import msgspec
from litestar import Request

from mimic.api.errors import ApiError


class JSONRequest(Request[Any, Any, Any]):
    """A request whose body is decoded with our errors."""

    async def json(self) -> Any:
        """Raises ApiError with the byte at which decoding failed."""
        body = await self.body()
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError as exc:
            problem = str(exc) if "(byte " in str(exc) else f"{exc} (byte {len(body)})"
        except UnicodeDecodeError as exc:
            problem = f"it is not UTF-8 ({exc.reason})"
        except RecursionError:
            problem = "it is nested too deeply"
        raise ApiError(400, f"The body is not JSON: {problem}", code="invalid_json")
