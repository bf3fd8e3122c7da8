"""The corpus: its queries in terms of the domain, independent of the store."""

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from mimic.corpus.cache import OutcomeCache
from mimic.corpus.conversation import Choice, Coordinates, LocatedMessage, Message
from mimic.corpus.ladder import INDEXED, Depth, reaches
from mimic.corpus.manifest import Seeded, SeededIndex, Seeding
from mimic.corpus.schemas import POSITION, SCHEMAS, Document, Lookup, Schema, Version
from mimic.corpus.similar.index import MatchIndex
from mimic.corpus.stores.base import Batches, Store
from mimic.errors import Detached, NoCompletion, NotSeeded, RungNotSeeded, UnusableModel, UnusableStore

if TYPE_CHECKING:
    from mimic.corpus.similar.embedding_model import EmbeddingModel
    from mimic.corpus.similar.vectors import VectorIndex

SECONDS_TO_REMEMBER: Final = 10.0
"""Seconds before an index that was found damaged is opened again."""


class Corpus:
    """Answers from a store, with a cache of outcomes. An async context manager that opens and closes the store.

    The corpus is the only user of its store. Without a ``model``, it cannot search by meaning.
    """

    def __init__(
        self, store: Store, cache: OutcomeCache | None = None, *, model: "EmbeddingModel | None" = None
    ) -> None:
        self._store = store
        self._model = model
        self.outcome_cache = OutcomeCache(store.seeded) if cache is None else cache
        self._indexes: dict[str, MatchIndex] = {}
        self._opening = asyncio.Lock()
        self._damaged: tuple[str, float, UnusableStore] | None = None  # an index, the time to retry, and the error

    async def __aenter__(self) -> Self:
        await self._store.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._store.__aexit__(exc_type, exc, traceback)

    async def complete(
        self, messages: Sequence[Message], version: Version, limit: int | None = None, *, by_role: bool = False
    ) -> Batches[Choice]:
        """Every next message after these messages, in corpus order; at least one and at most ``limit``.

        v1 and v2 compare the last message, v3 the last two. ``by_role`` compares roles instead of senders: ``human``
        then also finds ``user``.

        Raises NoCompletion if no message followed these, and NotSeeded if the corpus lacks the version.
        """
        schema = SCHEMAS[version]
        for is_former in (False, True):
            look_up = schema.former_lookup if is_former else schema.lookup
            lookup = look_up(messages, by_role=by_role)
            if lookup is None:
                break
            # A document found by index holds one choice; a document found by a scan holds any number.
            found = await self._store.find(lookup, limit if lookup.index else None)
            if found.rest is None:
                choices: Batches[Choice] = Batches(_choices(found.first, schema, lookup)[:limit])
            else:
                choices = await Batches.of(_limit(found, schema, lookup, limit))
            if choices.first:
                return choices
        raise NoCompletion

    async def choices_in(
        self, positions: Collection[int], messages: Sequence[Message], version: Version, *, by_role: bool = False
    ) -> Sequence[Choice]:
        """The choices of :meth:`complete` in the documents at these positions, in corpus order."""
        schema = SCHEMAS[version]
        lookup = schema.lookup(messages, by_role=by_role)
        documents = await self._store.documents(version, sorted(positions))
        return _choices([found for found in documents if not lookup.index or lookup.matches(found)], schema, lookup)

    async def index(self, version: Version, rung: Depth = "nearest") -> MatchIndex:
        """The index that finds similar messages of a version, down to a rung.

        The first call after a seeding opens the index, which takes a moment. Raises NotSeeded if the corpus lacks the
        version, RungNotSeeded if it was seeded without this index, and UnusableStore if the index is damaged or
        missing.
        """
        seeded = await self._seeded_index(version, rung)
        while seeded.id not in self._indexes:
            try:
                await self._open(seeded)
            except (Detached, UnusableStore) as exc:
                missing, seeded = seeded, await self._seeded_index(version, rung)
                if seeded == missing:  # otherwise the corpus and its index were replaced meanwhile
                    raise UnusableStore.caused_by(exc) from exc
        return self._indexes[seeded.id]

    async def meaning(
        self, version: Version, *, is_required: bool = False
    ) -> "tuple[EmbeddingModel, VectorIndex, MatchIndex] | None":
        """The embedding model, the vectors of a version, and its index; None if the corpus or the server lacks them.

        If they are required, raises RungNotSeeded or UnusableModel instead. Also raises UnusableModel if the vectors
        are those of another model, and the errors of :meth:`index`.
        """
        try:
            seeded = await self._seeded_index(version, "meaning")
        except RungNotSeeded:
            if is_required:
                raise
            return None
        if self._model is None:
            if is_required:
                text = "the rung 'meaning' needs MIMIC_EMBEDDING_MODEL, the model of the seeding"
                raise UnusableModel(text, public=text)
            return None
        fingerprint = await asyncio.to_thread(getattr, self._model, "fingerprint")
        if seeded.model not in (None, fingerprint):
            text = (
                f"the vectors of {version} are those of a model with the SHA-256 {seeded.model}, and "
                f"MIMIC_EMBEDDING_MODEL has {fingerprint}: use that model, or run `mimic seed FILE --match meaning`"
            )
            raise UnusableModel(text, public=text)
        index = await self.index(version, "meaning")
        return (self._model, index.vectors, index) if index.vectors else None  # None: no user said anything

    async def _open(self, seeded: SeededIndex) -> None:
        # The lock ends before the stack, so that waiting tasks do not wait for the removal of temporary files.
        async with AsyncExitStack() as stack, self._opening:
            if seeded.id in self._indexes:
                return
            self._refuse_known_damage(seeded.id)
            folder = await stack.enter_async_context(self._store.attached(seeded.id))
            try:
                index = await asyncio.to_thread(MatchIndex, folder, messages=seeded.messages)
                if self._model and seeded.vectors:
                    from mimic.corpus.similar.vectors import VectorIndex  # noqa: PLC0415 - its packages are optional

                    index.vectors = await asyncio.to_thread(VectorIndex, folder, seeded.vectors)
            except UnusableStore as exc:
                self._damaged = seeded.id, time.monotonic() + SECONDS_TO_REMEMBER, exc.with_traceback(None)
                raise
            self._indexes[seeded.id] = index

    def _refuse_known_damage(self, name: str) -> None:
        """Raises UnusableStore if an index was damaged a moment ago: fetching it from MongoDB takes long."""
        if self._damaged and self._damaged[0] == name and time.monotonic() < self._damaged[1]:
            raise UnusableStore.caused_by(self._damaged[2])

    async def _seeded_index(self, version: Version, rung: Depth) -> SeededIndex:
        seeded = await self.seeded()
        if version not in seeded:
            raise NotSeeded(version)
        index = seeded[version].index
        if index is None or not reaches(index.depth, rung):
            raise RungNotSeeded(version, rung)
        return index

    async def messages_at(self, version: Version, places: Sequence[Coordinates]) -> list[LocatedMessage]:
        """The messages at these places, in the same order. Missing ones are left out: the corpus was replaced."""
        if not places:
            return []
        schema = SCHEMAS[version]
        documents = await self._store.documents(version, sorted({schema.position(place) for place in places}))
        by_position = {document[POSITION]: document for document in documents}
        found = [
            schema.message_at(by_position[position], place)
            for place in places
            if (position := schema.position(place)) in by_position
        ]
        return [message for message in found if message]

    async def drawn(self, version: Version, draws: Sequence[float]) -> list[Message]:
        """Messages that something followed, at positions given as shares of the corpus (from 0 up to 1, exclusive).

        Fewer than ``draws`` where nothing followed the message at a position. A nested document holds many messages, so
        one document gives all, and the first share alone counts. Raises NotSeeded where the corpus lacks the version.
        """
        seeded = await self.seeded()
        if version not in seeded:
            raise NotSeeded(version)
        schema, size = SCHEMAS[version], seeded[version].documents
        positions = sorted({int(draw * size) for draw in (draws[:1] if schema.is_nested else draws)})
        documents = await self._store.documents(version, positions)
        return [message for document in documents for message in schema.answered(document)]

    async def check(self, version: Version, depth: Depth | None) -> None:
        """Raises the error that would keep chats by a version from an answer, down to the rung ``depth``.

        A ``depth`` of None is the depth that the corpus was seeded for. The check is cheap, except that the first one
        after a seeding opens the index. Also raises damage that searches have found since then.
        """
        await self._store.check()
        seeded = await self.seeded()
        if version not in seeded:
            raise NotSeeded(version)
        index = seeded[version].index
        rung = depth or (index.depth if index else None)
        if rung in INDEXED:
            if rung == "meaning":
                await self.meaning(version, is_required=depth == "meaning")
            (await self.index(version, rung)).check()

    async def contents(self) -> Mapping[Version, Seeded]:
        """The seeded versions; empty before the first seeding."""
        return await self._store.seeded()

    async def seeding(self) -> Seeding | None:
        """The last seeding, by any process."""
        return await self._store.seeding()

    async def documents(self, version: Version, positions: Sequence[int]) -> Sequence[Document]:
        """The documents at these positions, in order. Raises NotSeeded if the corpus lacks the version."""
        return await self._store.documents(version, positions)

    async def seeded(self) -> Mapping[Version, Seeded]:
        """The seeded versions; at least one. Raises NotSeeded if there is none."""
        seeded = await self._store.seeded()
        if self._indexes:
            await self._close_replaced(seeded)
        if not seeded:
            raise NotSeeded
        return seeded

    async def _close_replaced(self, seeded: Mapping[Version, Seeded]) -> None:
        in_use = {entry.index.id for entry in seeded.values() if entry.index}
        if replaced := [self._indexes.pop(name) for name in list(self._indexes) if name not in in_use]:
            await asyncio.to_thread(replaced.clear)  # frees the space of deleted files, which takes a while


def _choices(documents: Sequence[Document], schema: Schema, lookup: Lookup) -> list[Choice]:
    choices: list[Choice] = []
    for document in documents:
        choices += schema.choices(document, lookup)
    return choices


async def _limit(
    found: Batches[Document], schema: Schema, lookup: Lookup, limit: int | None
) -> AsyncGenerator[list[Choice]]:
    """Yield the choices of documents, at most ``limit``, in batches that are not empty."""
    given = 0
    async with aclosing(found):
        async for documents in found:
            choices = _choices(documents, schema, lookup)
            if limit is not None:
                choices = choices[: limit - given]
            if choices:
                given += len(choices)
                yield choices
            if given == limit:
                return
