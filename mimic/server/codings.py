"""Content codings (RFC 9110, 8.4.1): bodies of requests that come compressed."""

import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from mimic.errors import RequestError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ACCEPTED: Final = "gzip, deflate, zstd, identity"
MOST_CODINGS: Final = 5
"""Codings of one body, one on top of the other."""
MOST_PARTS: Final = 1000
"""Members of gzip data, or frames of zstd data: each costs time, also where it is empty."""
BYTES_AT_ONCE: Final = 64 * 1024
LARGEST_WINDOW: Final = 24
"""Binary logarithm of the bytes that zstd may look back: 16 MB. RFC 9659 asks for 8 MB at least."""
LONGEST_NAME: Final = 50
"""Characters of an unknown coding that its error repeats."""


class _Decompressor(Protocol):
    """Decompressor of one member or frame, of zlib or of zstd."""

    @property
    def eof(self) -> bool:
        """Whether the end was reached."""

    @property
    def unused_data(self) -> bytes:
        """Data behind the end."""

    def decompress(self, data: memoryview, max_length: int, /) -> bytes:
        """Decompress a piece, into so many bytes at most."""


def codings_in(header: str) -> list[str]:
    """Codings that a ``Content-Encoding`` names, in the order in which they were applied, without those of no effect.

    Raises RequestError, 415, for one that is unknown, and for too many.
    """
    named = [name for item in header.split(",") if (name := item.strip().lower()) not in {"", "identity"}]
    for name in named:
        if name not in _DECOMPRESSORS:
            raise _unsupported(f"the Content-Encoding {name[:LONGEST_NAME]!r}, which is not understood")
    if len(named) > MOST_CODINGS:
        raise _unsupported(f"more than {MOST_CODINGS} codings")
    return named


def decoded(body: bytes, codings: list[str], limit: int) -> bytes:
    """A body without its codings. What each of them gives has ``limit`` bytes at most, which bounds memory and time.

    Raises RequestError: 400 where the data are damaged or cut off, 413 where they are too large.
    """
    for name in reversed(codings):
        try:
            body = _decompressed(_DECOMPRESSORS[name](body), body, limit)
        except (zlib.error, zstd.ZstdError, EOFError) as exc:
            raise _damaged(name, "they are damaged, or of another kind") from exc
        except _Damaged as exc:
            raise _damaged(name, str(exc)) from exc
    return body


class _Damaged(Exception):
    """Compressed data that are not whole, or have too many parts."""


def _decompressed(new: Callable[[], _Decompressor], data: bytes, limit: int) -> bytes:
    left, pieces, size = memoryview(data), [], 0
    for _ in range(MOST_PARTS):
        part = new()
        while not part.eof:
            if not left:
                raise _Damaged("they end before their end mark")
            fed, left = left[:BYTES_AT_ONCE], left[BYTES_AT_ONCE:]
            piece = part.decompress(fed, limit - size + 1)
            size += len(piece)
            if size > limit:
                text = f"The body is larger than the {limit // 1_000_000} MB that are accepted when it is decompressed"
                raise RequestError(413, text, code="request_too_large")
            pieces.append(piece)
        left = memoryview(data)[len(data) - len(left) - len(part.unused_data) :]
        if not left:
            return b"".join(pieces)
    raise _Damaged(f"they have more than {MOST_PARTS} parts")


def _damaged(coding: str, problem: str) -> RequestError:
    text = f"The body cannot be read as {coding} data, which its Content-Encoding says it has: {problem}"
    return RequestError(400, text, code="invalid_encoding")


def _unsupported(what: str) -> RequestError:
    text = f"The body has {what}; accepted are {ACCEPTED}"
    return RequestError(415, text, code="unsupported_encoding", headers={"accept-encoding": ACCEPTED})


def _gzip(_: bytes) -> Callable[[], _Decompressor]:
    return lambda: zlib.decompressobj(wbits=31)


def _deflate(body: bytes) -> Callable[[], _Decompressor]:
    """The zlib format (RFC 1950), or the bare data (RFC 1951) that some clients send by that name."""
    has_header = body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0 if body else True
    return lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)


def _zstd(_: bytes) -> Callable[[], _Decompressor]:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: LARGEST_WINDOW}
    return lambda: zstd.ZstdDecompressor(options=options)


_DECOMPRESSORS: Final[Mapping[str, Callable[[bytes], Callable[[], _Decompressor]]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
