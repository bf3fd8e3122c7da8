"""Where a dump's bytes come from: a file or standard input, gzipped or not. The only I/O of reading a dump."""

import asyncio
import hashlib
import os
import stat
import sys
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from mimic.errors import BrokenDump, DumpError
from mimic.seedings import Origin

CHUNK_BYTES = 256 * 1024
GZIP_MAGIC = b"\x1f\x8b"


class Source:
    """The bytes of a dump, read once, in chunks.

    ``-`` is standard input. Gzip is recognised by its first bytes. Use as an async context manager; :meth:`chunks`
    gives the decompressed text, ``bytes_read`` and :meth:`origin` count and name what was read, as it was stored.
    """

    def __init__(self, name: str | Path) -> None:
        self.name = "standard input" if str(name) == "-" else Path(name).name
        self.bytes_read = 0
        self.total_bytes: int | None = None
        self._path = None if str(name) == "-" else Path(name)
        self._sha256 = hashlib.sha256()

    async def __aenter__(self) -> Self:
        """Open it. Raises DumpError where there is nothing to read."""
        try:
            self._file: BinaryIO = self._path.open("rb") if self._path else sys.stdin.buffer
        except OSError as exc:
            raise DumpError(f"cannot read {self._path}: {exc.strerror}") from exc
        status = os.fstat(self._file.fileno())
        self._pipe: asyncio.StreamReader | None = None
        if stat.S_ISREG(status.st_mode):
            self.total_bytes = status.st_size
        else:
            self._pipe = await _as_stream(self._file)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._path:
            self._file.close()

    def origin(self) -> Origin:
        """What has been read so far."""
        return Origin(self.name, self.bytes_read, self._sha256.hexdigest())

    async def chunks(self) -> AsyncIterator[bytes]:
        """The decompressed bytes, in chunks of bounded size.

        Raises BrokenDump where gzip data are damaged or cut off.
        """
        data = await self._read()
        gunzip = _Gunzip() if data.startswith(GZIP_MAGIC) else None
        while data:
            for piece in gunzip.feed(data) if gunzip else (data,):
                yield piece
            data = await self._read()
        if gunzip:
            gunzip.close()

    async def _read(self) -> bytes:
        try:
            if self._pipe:
                data = await self._pipe.read(CHUNK_BYTES)
            else:
                data = await asyncio.to_thread(self._file.read, CHUNK_BYTES)
        except OSError as exc:
            raise DumpError(f"cannot read {self.name}: {exc.strerror}") from exc
        self.bytes_read += len(data)
        self._sha256.update(data)
        return data


class _Gunzip:
    """Decompression of one or more gzip members (RFC 1952), in pieces of bounded size."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)
        self._text_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._inflate.eof:
                data = (self._inflate.unused_data or data).lstrip(b"\0")
                if not data:
                    return
                self._inflate = zlib.decompressobj(wbits=31)
            try:
                piece = self._inflate.decompress(data, CHUNK_BYTES)
            except zlib.error as exc:
                raise BrokenDump(
                    self._text_bytes, f"the gzip data behind this byte of the text are damaged ({exc})"
                ) from exc
            self._text_bytes += len(piece)
            yield piece
            data = self._inflate.unconsumed_tail
            if not (self._inflate.eof or data or len(piece) == CHUNK_BYTES):
                return

    def close(self) -> None:
        """Raises BrokenDump if the last member is not complete."""
        if not self._inflate.eof:
            raise BrokenDump(self._text_bytes, "the gzip data end here, before their end mark (was the file cut off?)")


async def _as_stream(file: BinaryIO) -> asyncio.StreamReader:
    """A pipe or terminal as a stream: unlike a read in a thread, waiting for it can be cancelled."""
    stream = asyncio.StreamReader(limit=CHUNK_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), file)
    return stream
