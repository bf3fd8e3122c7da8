"""Contents of records that are switched off: nothing is kept."""

from collections.abc import AsyncGenerator, Sequence

from mimic.errors import RecordsUnavailable
from mimic.records.files.base import ContentGroup, Contents, ContentWriter


class NoContents(Contents):
    """Every content is accepted and forgotten."""

    def new(self, group: str, name: str) -> ContentWriter:
        return _Forgetting()

    async def read(self, group: str, name: str, start: int, end: int) -> AsyncGenerator[bytes]:
        if start < end:
            raise RecordsUnavailable("records are off", public="MIMIC_RECORDS is off")
        yield b""

    async def has(self, group: str, name: str, size: int) -> bool:
        return True

    async def delete(self, group: str, name: str | None = None) -> None:
        pass

    async def groups(self) -> Sequence[ContentGroup]:
        return []


class _Forgetting(ContentWriter):
    async def _append(self, piece: bytes) -> None:
        pass

    async def _complete(self, rest: bytes) -> None:
        pass

    async def _discard(self) -> None:
        pass
