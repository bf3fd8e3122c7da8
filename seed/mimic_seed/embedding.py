"""Vectors of the users' messages, made after the dump is read: until then the different texts wait in a file."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

import msgspec
from msgspec.structs import replace

from mimic.corpus.conversation import Conversation, Coordinates, Message, role_of
from mimic.corpus.manifest import SeededIndex
from mimic.corpus.schemas import digest

if TYPE_CHECKING:
    from mimic.corpus.similar.embedding_model import EmbeddingModel
    from mimic.corpus.similar.vectors import VectorWriter

AT_A_TIME: Final = 16
"""Texts between two reports of the progress."""

OnTexts = Callable[[int, int, float], Awaitable[None]]
"""Takes the number of texts with a vector, the number of all texts, and the texts per second."""


class TextEmbedding:
    """Vectors that conversations are added to. A context manager, which removes the file of the texts."""

    def __init__(self, folder: Path, model: "EmbeddingModel") -> None:
        from mimic.corpus.similar import embedding_model, vectors  # noqa: PLC0415 - their packages are optional

        self._vectors = vectors
        self._longest = embedding_model.MAX_CHARACTERS
        self._folder = folder
        self._model = model
        self._known: set[int] = set()
        self._next = Coordinates(0, 0, 0)
        self._seconds = 0.0

    def __enter__(self) -> Self:
        self._texts: IO[bytes] = tempfile.TemporaryFile()
        return self

    def __exit__(self, *exc: object) -> None:
        self._texts.close()

    def add(self, conversation: Conversation) -> None:
        """Add the next conversation of the corpus. Raises StoreFull and StoreUnavailable."""
        start = self._next
        for index, (message, _) in enumerate(pairwise(conversation.messages)):
            if role_of(message.sender) != "user" or not message.value.strip():
                continue
            text = message.value[: self._longest]
            key = digest(Message("user", text))
            if key in self._known:
                continue
            self._known.add(key)
            packed = msgspec.msgpack.encode((start.message + index, start.conversation, index, text))
            try:
                self._texts.write(len(packed).to_bytes(4, "big") + packed)
            except OSError as exc:
                raise self._vectors.written_error(exc) from exc
        self._next = Coordinates(start.message + len(conversation.messages), start.conversation + 1, 0)

    async def finish(self, on_texts: OnTexts) -> None:
        """Compute and write all vectors, in a thread. Raises StoreFull, StoreUnavailable and UnusableModel."""
        if not self._known:
            return
        started = time.perf_counter()
        size, done = await asyncio.to_thread(getattr, self._model, "size"), 0
        embedding_since = time.perf_counter()
        with self._vectors.VectorWriter(self._folder, len(self._known), size) as writer:
            for batch in self._batches():
                await asyncio.to_thread(self._write, writer, batch)
                done += len(batch)
                await on_texts(done, len(self._known), done / (time.perf_counter() - embedding_since))
        self._seconds = time.perf_counter() - started

    def described(self, index: SeededIndex) -> SeededIndex:
        """The entry of the index with that of its vectors."""
        return replace(index, vectors=len(self._known), vector_seconds=self._seconds, model=self._model.fingerprint)

    def _write(self, writer: "VectorWriter", batch: Sequence[tuple[Coordinates, str]]) -> None:
        writer.add([place for place, _ in batch], [self._model.vector(text) for _, text in batch])

    def _batches(self) -> Iterator[list[tuple[Coordinates, str]]]:
        self._texts.seek(0)
        batch = []
        while size := int.from_bytes(self._texts.read(4), "big"):
            *place, text = msgspec.msgpack.decode(self._texts.read(size), type=tuple[int, int, int, str])
            batch.append((Coordinates(*place), text))
            if len(batch) == AT_A_TIME:
                yield batch
                batch = []
        if batch:
            yield batch
