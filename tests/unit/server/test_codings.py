"""Content codings: results, refusals and costs."""

import gzip
import sys
import zlib
from collections.abc import Callable
from typing import Final

import pytest

from mimic.errors import RequestError
from mimic.server.codings import MOST_CODINGS, MOST_PARTS, codings_in, decompress

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PLAIN: Final = b'{"a": 1}' * 100
LIMIT: Final = 1_000_000
COMPRESS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
}


def refusal(body: bytes, header: str) -> RequestError:
    """The error of a body with a Content-Encoding."""
    with pytest.raises(RequestError) as error:
        decompress(body, codings_in(header), LIMIT)
    return error.value


def test_codings_are_listed_in_their_order() -> None:
    """The list is in lower case, without codings of no effect."""
    assert codings_in("") == codings_in("identity") == codings_in(" ,Identity, ") == []
    assert codings_in("GZIP,,identity, zstd") == ["gzip", "zstd"]


@pytest.mark.parametrize("coding", COMPRESS)
def test_parts_are_put_together(coding: str) -> None:
    """Members of gzip and frames of zstd, empty ones and any sizes, are joined."""
    compress = COMPRESS[coding]
    body = b"".join(map(compress, [PLAIN, b"", b"x" * 300_000, PLAIN]))
    assert decompress(body, [coding], LIMIT) == PLAIN + b"x" * 300_000 + PLAIN
    assert decompress(compress(b"x" * LIMIT), [coding], LIMIT) == b"x" * LIMIT


def test_the_last_coding_is_undone_first() -> None:
    """The allowed number of codings is decoded in reverse order."""
    body = PLAIN
    for _ in range(MOST_CODINGS):
        body = gzip.compress(body)
    assert decompress(body, codings_in("gzip," * MOST_CODINGS), LIMIT) == PLAIN
    assert decompress(zstd.compress(zlib.compress(PLAIN)), codings_in("deflate, zstd"), LIMIT) == PLAIN
    assert refusal(body, "gzip," * (MOST_CODINGS + 1)).status == 415


def test_deflate_may_lack_its_header() -> None:
    """Some clients send deflate without its header."""
    bare = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    assert decompress(bare.compress(PLAIN) + bare.flush(), ["deflate"], LIMIT) == PLAIN


@pytest.mark.parametrize("coding", COMPRESS)
def test_damaged_data_are_a_bad_request(coding: str) -> None:
    """Data that are cut off, with a rest, or of another kind are refused."""
    whole = COMPRESS[coding](PLAIN)
    for body in (whole[:1], whole[: len(whole) // 2], whole[:-1], whole + b"more", PLAIN, b"\xff" * 10):
        error = refusal(body, coding)
        assert (error.status, error.code) == (400, "invalid_encoding")
        assert f"decompressed as {coding}, " in str(error)
    assert "the data end before their end mark" in str(refusal(whole[:-1], coding))


@pytest.mark.parametrize("coding", COMPRESS)
def test_bombs_are_too_large(coding: str) -> None:
    """The limit holds for each layer, so that inner ones cannot grow either."""
    bomb = COMPRESS[coding](bytes(LIMIT + 1))
    assert refusal(bomb, coding).status == 413
    assert refusal(gzip.compress(COMPRESS[coding](bytes(20 * LIMIT))), f"{coding}, gzip").status == 413


@pytest.mark.parametrize("coding", COMPRESS)
def test_very_many_parts_are_refused(coding: str) -> None:
    """Empty parts take time, although no room."""
    assert "parts" in str(refusal(COMPRESS[coding](b"") * (MOST_PARTS + 1), coding))
    assert decompress(COMPRESS[coding](b"") * MOST_PARTS, [coding], LIMIT) == b""


def test_zstd_may_not_ask_for_any_memory() -> None:
    """A frame has its window size; 128 MB are refused."""
    window: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    compressor = zstd.ZstdCompressor(options=window)  # it does not know the size, and so asks for all of it
    body = compressor.compress(PLAIN) + compressor.flush()
    assert refusal(body, "zstd").status == 400


def test_an_unknown_coding_is_named_in_short() -> None:
    """A long name is cut."""
    error = refusal(PLAIN, "x" * 60_000)
    assert (error.status, error.code) == (415, "unsupported_encoding")
    assert len(str(error)) < 200
    assert error.headers == {"accept-encoding": "gzip, deflate, zstd, identity"}
