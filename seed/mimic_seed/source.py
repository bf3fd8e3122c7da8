"""The source of a dump's bytes: a file or standard input, gzipped or not. The only I/O of reading a dump."""

import asyncio
import hashlib
import os
import stat
import sys
import zlib
from collections.abc import AsyncIterator, Iterator
from errno import EBADF
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from mimic.corpus.manifest import Origin
from mimic.errors import BrokenDump, DumpError

CHUNK_BYTES = 256 * 1024
GZIP_MAGIC = b"\x1f\x8b"

STANDARD_STREAMS: Final = (0, 1, 2)

CAN_WAIT: Final = sys.platform != "win32"
"""True if the event loop can wait for the pipes and terminals that a shell opens."""


class Source:
    """The bytes of a dump, read once, in chunks. An async context manager.

    ``-`` is standard input. Gzip is recognised by its first bytes. :meth:`chunks` yields the decompressed text.
    ``bytes_read`` and :meth:`origin` describe the input as stored.
    """

    def __init__(self, name: str | Path) -> None:
        self.name = "standard input" if str(name) == "-" else os.fsencode(Path(name).name).decode(errors="replace")
        self.bytes_read = 0
        self.total_bytes: int | None = None
        self._path = None if str(name) == "-" else Path(name)
        self._sha256 = hashlib.sha256()
        self._shared: int | None = None

    async def __aenter__(self) -> Self:
        """Open the input. Raises DumpError if it cannot be read."""
        try:
            if self._path:
                _refuse(self._path)
            # Without blocking: opening a named pipe without a writer would wait, and could not be cancelled.
            self._file = _open_without_blocking(self._path) if self._path else _standard_input()
            status = os.fstat(self._file.fileno())
        except OSError as exc:
            raise DumpError(f"cannot be read: {exc.strerror}") from exc
        self._pipe: asyncio.StreamReader | None = None
        self._transport: asyncio.ReadTransport | None = None
        if stat.S_ISREG(status.st_mode):
            self.total_bytes = status.st_size
        elif CAN_WAIT and (stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode) or self._file.isatty()):
            # Unlike a read in a thread, waiting for a stream can be cancelled.
            if not self._path:
                self._shared = os.dup(self._file.fileno())  # the transport closes the file itself at its end
            self._pipe = asyncio.StreamReader(limit=CHUNK_BYTES)
            protocol = asyncio.StreamReaderProtocol(self._pipe)
            self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, self._file)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shared is not None:
            os.set_blocking(self._shared, True)  # for its next user, as the shell of a terminal
            os.close(self._shared)
        if self._transport:
            self._transport.close()
        elif self._path:
            self._file.close()

    def origin(self) -> Origin:
        """The name of the input, and the size and SHA-256 of the bytes read so far."""
        return Origin(self.name, self.bytes_read, self._sha256.hexdigest())

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the decompressed bytes, in chunks of bounded size.

        Raises BrokenDump if gzip data are damaged or truncated.
        """
        data = await self._read()
        while len(data) < len(GZIP_MAGIC) and (more := await self._read()):  # a pipe may give one byte at first
            data += more
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
            raise DumpError(f"cannot be read: {exc.strerror}") from exc
        self.bytes_read += len(data)
        self._sha256.update(data)
        return data


class _Gunzip:
    """Decompression of one or more gzip members (RFC 1952), in pieces of bounded size."""

    def __init__(self) -> None:
        self._inflate: Any = None  # None between two members
        self._text_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._inflate is None:
                data = data.lstrip(b"\0")  # the padding of tapes, which gzip(1) also skips
                if not data:
                    return
                self._inflate = zlib.decompressobj(wbits=31)
            try:
                piece = self._inflate.decompress(data, CHUNK_BYTES)
            except zlib.error as exc:
                raise BrokenDump(
                    self._text_bytes, f"the gzip data after this byte of the text are damaged ({exc})"
                ) from exc
            self._text_bytes += len(piece)
            yield piece
            if self._inflate.eof:
                data = self._inflate.unused_data
                self._inflate = None
                continue
            data = self._inflate.unconsumed_tail
            if not data and len(piece) < CHUNK_BYTES:
                return

    def close(self) -> None:
        """Raises BrokenDump if the last member is not complete."""
        if self._inflate is not None:
            raise BrokenDump(self._text_bytes, "the gzip data end here, before their end mark (truncated file?)")


def _refuse(path: Path) -> None:
    """Raises DumpError for a folder, and for a device that is no terminal: opening a device may have effects."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise DumpError("is a folder: name a file in it")
    if stat.S_ISBLK(status.st_mode) or (stat.S_ISCHR(status.st_mode) and not _is_harmless(path, status)):
        raise DumpError("is a device and not a file")


def _is_harmless(path: Path, status: os.stat_result) -> bool:
    """True if a device is the null device or a terminal of this process."""
    if os.fspath(path) in {os.devnull, "/dev/tty"}:
        return True
    return any(os.isatty(number) and os.path.samestat(status, os.fstat(number)) for number in STANDARD_STREAMS)


def _open_without_blocking(path: Path) -> BinaryIO:
    if sys.platform == "win32":  # Windows has no named pipes in folders
        return path.open("rb")
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")


def _standard_input() -> BinaryIO:
    if sys.stdin is None:  # standard input was closed
        raise OSError(EBADF, os.strerror(EBADF))
    return sys.stdin.buffer
