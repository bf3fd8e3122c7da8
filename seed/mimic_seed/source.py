"""The source of a dump's bytes: a file or standard input, compressed or not. The only I/O of reading a dump."""

import asyncio
import hashlib
import os
import stat
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from errno import EBADF
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self
from zipfile import ZipInfo

from mimic.corpus.manifest import Origin
from mimic.errors import DumpError
from mimic_seed import archive, parquet
from mimic_seed.archive import Archive
from mimic_seed.compression import CHUNK_BYTES, LONGEST_MAGIC, Decompressor, coding_of
from mimic_seed.parquet import ParquetRows

STANDARD_STREAMS: Final = (0, 1, 2)

CAN_WAIT: Final = sys.platform != "win32"
"""True if the event loop can wait for the pipes and terminals that a shell opens."""


class Document(NamedTuple):
    """A text in a source: its name in an archive (empty if the source is no archive), and its bytes in chunks."""

    name: str
    chunks: AsyncIterator[bytes]


class Source:
    """The bytes of a dump, read once, in chunks. An async context manager.

    ``-`` is standard input. Compression is recognised by the first bytes. :meth:`documents` yields the decompressed
    texts: one, or the files of a zip archive. The text of a Parquet file is its rows as JSON Lines. ``bytes_read`` and
    :meth:`origin` describe the input as stored.
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

    async def documents(self) -> AsyncGenerator[Document]:
        """Yield the texts in the source. Each must be read to its end before the next one.

        Raises DumpError for a zip archive or a Parquet file that cannot be read, or has no conversations.
        """
        beginning = await self._read()
        while len(beginning) < LONGEST_MAGIC and (more := await self._read()):  # a pipe may give one byte at first
            beginning += more
        if self.total_bytes is None or not beginning.startswith((*archive.MAGIC, parquet.MAGIC)):
            yield Document("", self._text(beginning))
            return
        while await self._read():  # for the SHA-256; then the file is read again
            pass
        self.bytes_read = 0
        if beginning.startswith(parquet.MAGIC):
            rows = await asyncio.to_thread(ParquetRows, self._file)
            yield Document("", self._rows_of(rows, self.total_bytes))
        else:
            opened = await asyncio.to_thread(Archive, self._file)
            members = opened.members()
            share = self.total_bytes / (sum(one.file_size for one in members) or 1)
            for member in members:
                yield Document(member.filename, self._chunks_of(opened, member, share))
        self.bytes_read = self.total_bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the decompressed bytes of all texts, in chunks of bounded size.

        Raises BrokenDump if compressed data are damaged or truncated.
        """
        async for document in self.documents():
            async for chunk in document.chunks:
                yield chunk

    async def _text(self, data: bytes) -> AsyncIterator[bytes]:
        coding = coding_of(data)
        decompressor = Decompressor(coding) if coding else None
        while data:
            for piece in decompressor.feed(data) if decompressor else (data,):
                yield piece
            data = await self._read()
        if decompressor:
            decompressor.close()

    async def _chunks_of(self, opened: Archive, member: ZipInfo, share: float) -> AsyncIterator[bytes]:
        """Yield a file of an archive. A byte of its text counts as a ``share`` of a byte that was read."""
        chunks = opened.chunks(member)
        begin, size = self.bytes_read, 0
        while data := await asyncio.to_thread(next, chunks, b""):
            yield data
            size += len(data)
            self.bytes_read = min(self.total_bytes or 0, begin + int(size * share))

    async def _rows_of(self, rows: ParquetRows, total_bytes: int) -> AsyncIterator[bytes]:
        """Yield the rows of a table. The share of the rows counts as the share of the bytes."""
        chunks = rows.chunks()
        while found := await asyncio.to_thread(next, chunks, None):
            lines, share = found
            yield lines
            self.bytes_read = int(total_bytes * share)

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
