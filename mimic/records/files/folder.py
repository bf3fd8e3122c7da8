"""Contents in a folder beside an SQLite file of records: a folder for each group, and a file for each content."""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from mimic.errors import RecordsUnavailable
from mimic.records.files.base import ContentGroup, Contents, ContentWriter, deleted
from mimic.records.sqlite.file import RecordsFile

SUFFIX: Final = ".files"
INCOMPLETE: Final = ".incomplete"
READ_BYTES: Final = 256 * 1024
T = TypeVar("T")


class FolderContents(Contents):
    """A folder with the name of the file of records and the suffix SUFFIX, which only its owner may read."""

    def __init__(self, file: RecordsFile) -> None:
        self._file = file

    def new(self, group: str, name: str) -> ContentWriter:
        return _FileWriter(self, group, name)

    async def read(self, group: str, name: str, start: int, end: int) -> AsyncGenerator[bytes]:
        try:
            file = await asyncio.to_thread((self.root / group / name).open, "rb")
        except FileNotFoundError as exc:
            raise RecordsUnavailable(f"the content {group}/{name} is missing", public="a file is damaged") from exc
        except OSError as exc:
            raise self._file.translate(exc) from exc
        try:
            await self.run(lambda: file.seek(start))
            while start < end:
                size = min(READ_BYTES, end - start)
                piece = await self.run(lambda size=size: file.read(size))  # type: ignore[misc]
                if not piece:
                    raise RecordsUnavailable(f"the content {group}/{name} is too short", public="a file is damaged")
                start += len(piece)
                yield piece
        finally:
            file.close()

    async def has(self, group: str, name: str, size: int) -> bool:
        try:
            return (await asyncio.to_thread((self.root / group / name).stat)).st_size == size
        except FileNotFoundError:
            return False
        except OSError as exc:
            raise self._file.translate(exc) from exc

    async def delete(self, group: str, name: str | None = None) -> None:
        if not self._file.exists:
            return
        if name is None:
            await self.run(lambda: shutil.rmtree(self.root / group, ignore_errors=True))
        else:
            await self.run(lambda: (self.root / group / name).unlink(missing_ok=True))

    async def groups(self) -> Sequence[ContentGroup]:
        if not self._file.exists:
            return []
        return await self.run(lambda: _groups_in(self.root))

    @property
    def root(self) -> Path:
        """The folder of all groups."""
        return self._file.path.with_name(f"{self._file.path.name}{SUFFIX}")

    def make(self, group: str) -> Path:
        """Make the folder of a group, if it is missing. Raises OSError."""
        self._file.make()
        folder = self.root / group
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    async def run(self, work: Callable[[], T]) -> T:
        """Run work in a thread. Errors of the system become RecordsUnavailable."""
        try:
            return await asyncio.to_thread(work)
        except OSError as exc:
            raise self._file.translate(exc) from exc


class _FileWriter(ContentWriter):
    """A file with a name of its own, which is renamed when it is complete."""

    def __init__(self, contents: FolderContents, group: str, name: str) -> None:
        super().__init__()
        self._contents = contents
        self._group = group
        self._name = name
        self._path: Path | None = None
        self._file: int | None = None

    async def _append(self, piece: bytes) -> None:
        await self._contents.run(lambda: self._write(piece))

    async def _complete(self, rest: bytes) -> None:
        def complete() -> None:
            path = self._write(rest)
            os.fsync(self._opened())
            self._close()
            try:
                path.rename(path.with_name(self._name))
            except FileNotFoundError as exc:
                raise deleted(self._group, self._name) from exc

        await self._contents.run(complete)

    async def _discard(self) -> None:
        def discard() -> None:
            self._close()
            if self._path is not None:
                self._path.unlink(missing_ok=True)
                with suppress(OSError):  # the group has other contents
                    self._path.parent.rmdir()

        with suppress(RecordsUnavailable):
            await self._contents.run(discard)

    def _write(self, piece: bytes) -> Path:
        if self._path is None:
            folder = self._contents.make(self._group)
            self._path = folder / f"{self._name}.{secrets.token_hex(8)}{INCOMPLETE}"
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._opened(), rest) :]
        return self._path

    def _opened(self) -> int:
        assert self._file is not None
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)


def _groups_in(root: Path) -> Sequence[ContentGroup]:
    found, now = [], time.time()
    with suppress(FileNotFoundError):
        for folder in root.iterdir():
            with suppress(FileNotFoundError, NotADirectoryError):  # deleted meanwhile, or not ours
                states = [file.stat() for file in folder.iterdir()]
                newest = max([state.st_mtime for state in states], default=folder.stat().st_mtime)
                found.append(ContentGroup(folder.name, sum(state.st_size for state in states), now - newest))
    return found
