"""Decompression of a file's bytes in pieces of bounded size: gzip, zstd, xz, lzma and bzip2, by their first bytes."""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from mimic.errors import BrokenDump

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK_BYTES: Final = 256 * 1024

LARGEST_WINDOW: Final = 27
"""Binary logarithm of the maximum zstd window: 128 MiB, as ``zstd -d`` without ``--long``."""
LARGEST_DICTIONARY: Final = 160 * 1024 * 1024
"""Maximum memory of xz in bytes. ``xz -9`` needs 65 MiB."""


class _Inflate:
    """zlib's decompressor for gzip, with the interface of the other ones."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, most: int) -> bytes:
        piece = self._inflate.decompress(self._inflate.unconsumed_tail + data, most)
        self.needs_input = not self._inflate.unconsumed_tail and len(piece) < most
        return piece


class Coding(NamedTuple):
    """A compressed format: its name, its first bytes, and a decompressor for one member or frame."""

    name: str
    magic: bytes
    new: Callable[[], Any]


def _zstd() -> Any:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: LARGEST_WINDOW})


CODINGS: Final[Mapping[str, Coding]] = {
    coding.name: coding
    for coding in (
        Coding("gzip", b"\x1f\x8b", _Inflate),
        Coding("zstd", b"\x28\xb5\x2f\xfd", _zstd),
        Coding("xz", b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, LARGEST_DICTIONARY)),
        Coding("lzma", b"\x5d\0\0", lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, LARGEST_DICTIONARY)),
        Coding("bzip2", b"BZh", bz2.BZ2Decompressor),
    )
}
LONGEST_MAGIC: Final = max(len(coding.magic) for coding in CODINGS.values())

_FAILED: Final = (zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, ValueError, EOFError, MemoryError)


def coding_of(beginning: bytes) -> Coding | None:
    """The coding of a file by its first bytes; None if it is not compressed."""
    return next((coding for coding in CODINGS.values() if beginning.startswith(coding.magic)), None)


class Decompressor:
    """Decompression of one or more members of a coding (gzip: RFC 1952), in pieces of bounded size."""

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._member: Any = None  # None between two members
        self._text_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the text of the next bytes. Raises BrokenDump if they are damaged."""
        while True:
            if self._member is None:
                data = data.lstrip(b"\0")  # the padding of tapes and of xz, which the programs also skip
                if not data:
                    return
                self._member = self._coding.new()
            try:
                piece = self._member.decompress(data, CHUNK_BYTES)
            except _FAILED as exc:
                text = f"the {self._coding.name} data after this byte of the text are damaged ({exc})"
                raise BrokenDump(self._text_bytes, text) from exc
            self._text_bytes += len(piece)
            yield piece
            data = b""
            if self._member.eof:
                data, self._member = self._member.unused_data, None
            elif self._member.needs_input:
                return

    def close(self) -> None:
        """Raises BrokenDump if the last member is not complete."""
        if self._member is not None:
            text = f"the {self._coding.name} data end here, before their end mark (truncated file?)"
            raise BrokenDump(self._text_bytes, text)
