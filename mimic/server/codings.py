"""Content codings (RFC 9110, 8.4.1): decompression of request bodies."""

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
"""Maximum number of codings of a body, applied one after the other."""
MOST_PARTS: Final = 1000
"""Maximum members of gzip data, or frames of zstd data: each takes time, even if empty."""
BYTES_AT_ONCE: Final = 64 * 1024
LARGEST_WINDOW: Final = 24
"""Binary logarithm of the maximum zstd window: 16 MB. RFC 9659 requires at least 8 MB."""
LONGEST_NAME: Final = 50
"""Maximum characters of an unknown coding in its error."""


class _Decompressor(Protocol):
    """Decompressor of a zlib member or a zstd frame."""

    @property
    def eof(self) -> bool:
        """True after the end of the member or frame."""

    @property
    def unused_data(self) -> bytes:
        """The data after the end."""

    def decompress(self, data: memoryview, max_length: int, /) -> bytes:
        """Decompress a piece, into at most ``max_length`` bytes."""


def codings_in(header: str) -> list[str]:
    """Return the codings in a ``Content-Encoding`` in the order of their application, without ``identity``.

    Raises RequestError (415) for an unknown coding or too many.
    """
    named = [name for item in header.split(",") if (name := item.strip().lower()) not in {"", "identity"}]
    for name in named:
        if name not in _DECOMPRESSORS:
            raise _unsupported(f"the Content-Encoding {name[:LONGEST_NAME]!r}, which is not supported")
    if len(named) > MOST_CODINGS:
        raise _unsupported(f"more than {MOST_CODINGS} codings")
    return named


def decompress(body: bytes, codings: list[str], limit: int) -> bytes:
    """Decompress a body. The result of each coding has at most ``limit`` bytes, which bounds memory and time.

    Raises RequestError: 400 for damaged or incomplete data, 413 for a result that is too large.
    """
    for name in reversed(codings):
        try:
            body = _decompress_layer(_DECOMPRESSORS[name](body), body, limit)
        except (zlib.error, zstd.ZstdError, EOFError) as exc:
            raise _damaged(name, "the data are damaged or have another format") from exc
        except _Damaged as exc:
            raise _damaged(name, str(exc)) from exc
    return body


class _Damaged(Exception):
    """Compressed data that are incomplete or have too many parts."""


def _decompress_layer(new: Callable[[], _Decompressor], data: bytes, limit: int) -> bytes:
    rest, pieces, size = memoryview(data), [], 0
    for _ in range(MOST_PARTS):
        part = new()
        while not part.eof:
            if not rest:
                raise _Damaged("the data end before their end mark")
            chunk, rest = rest[:BYTES_AT_ONCE], rest[BYTES_AT_ONCE:]
            piece = part.decompress(chunk, limit - size + 1)
            size += len(piece)
            if size > limit:
                text = f"The decompressed body is larger than the limit of {limit // 1_000_000} MB"
                raise RequestError(413, text, code="request_too_large")
            pieces.append(piece)
        rest = memoryview(data)[len(data) - len(rest) - len(part.unused_data) :]
        if not rest:
            return b"".join(pieces)
    raise _Damaged(f"the data have more than {MOST_PARTS} parts")


def _damaged(coding: str, problem: str) -> RequestError:
    text = f"The body cannot be decompressed as {coding}, the coding in its Content-Encoding: {problem}"
    return RequestError(400, text, code="invalid_encoding")


def _unsupported(problem: str) -> RequestError:
    text = f"The body has {problem}; accepted are {ACCEPTED}"
    return RequestError(415, text, code="unsupported_encoding", headers={"accept-encoding": ACCEPTED})


def _gzip(_: bytes) -> Callable[[], _Decompressor]:
    return lambda: zlib.decompressobj(wbits=31)


def _deflate(body: bytes) -> Callable[[], _Decompressor]:
    """Choose the zlib format (RFC 1950), or raw deflate data (RFC 1951), which some clients send under this name."""
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
