"""The corpus: what can be asked of it, in the words of the domain, whatever store it is in."""

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import Final, Self

from mimic.corpus.cache import OutcomeCache
from mimic.corpus.conversation import Choice, Coordinates, LocatedMessage, Message
from mimic.corpus.index import MatchIndex
from mimic.corpus.ladder import INDEXED, Rung, reaches
from mimic.corpus.manifest import Seeded, SeededIndex, Seeding
from mimic.corpus.schemas import POSITION, SCHEMAS, Document, Lookup, Schema, Version
from mimic.corpus.stores.base import Batches, Store
from mimic.errors import Detached, NoCompletion, NotSeeded, RungNotSeeded, UnusableStore

SECONDS_TO_REMEMBER: Final = 10.0
"""How long an index that was found damaged is not opened again."""


class Corpus:
    """Answers from a store, and a cache of what long ones were reduced to. An async context manager: opens the store.

    Nothing else holds the store.
    """

    def __init__(self, store: Store, cache: OutcomeCache | None = None) -> None:
        self._store = store
        self.outcome_cache = OutcomeCache(store.seeded) if cache is None else cache
        self._indexes: dict[str, MatchIndex] = {}
        self._opening = asyncio.Lock()
        self._damaged: tuple[str, float, UnusableStore] | None = None  # an index, until when, and how

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
        """Every message that came next after these, in corpus order; at least one.

        v1 and v2 look at the last message, v3 at the last two. At most ``limit`` choices. With ``by_role`` it does not
        matter who said them in the dump as long as the role is the same: ``human`` then also finds ``user``.

        Raises NoCompletion where nothing ever came next, and NotSeeded where the corpus lacks the version.
        """
        schema = SCHEMAS[version]
        for is_former in (False, True):
            look_up = schema.former_lookup if is_former else schema.lookup
            lookup = look_up(messages, by_role=by_role)
            if lookup is None:
                break
            # What is found by index holds one choice each; what is found by scanning, any number.
            found = await self._store.find(lookup, limit if lookup.index else None)
            if found.rest is None:
                choices: Batches[Choice] = Batches(_choices(found.first, schema, lookup)[:limit])
            else:
                choices = await Batches.of(_limited(found, schema, lookup, limit))
            if choices.first:
                return choices
        raise NoCompletion

    async def choices_in(
        self, positions: Collection[int], messages: Sequence[Message], version: Version, *, by_role: bool = False
    ) -> Sequence[Choice]:
        """Those of the choices of :meth:`complete` that the documents at these positions hold, in corpus order."""
        schema = SCHEMAS[version]
        lookup = schema.lookup(messages, by_role=by_role)
        documents = await self._store.documents(version, sorted(positions))
        return _choices([found for found in documents if not lookup.index or lookup.matches(found)], schema, lookup)

    async def index(self, version: Version, rung: Rung = "nearest") -> MatchIndex:
        """The index of a version's messages by what they are like, which serves a rung.

        Opening it takes a moment, the first time after a seeding. Raises NotSeeded where the corpus lacks the version,
        RungNotSeeded where it was seeded without such an index, and UnusableStore where that is damaged or missing.
        """
        seeded = await self._seeded_index(version, rung)
        while seeded.id not in self._indexes:
            try:
                await self._open(seeded)
            except (Detached, UnusableStore) as exc:
                missing, seeded = seeded, await self._seeded_index(version, rung)
                if seeded == missing:  # else the corpus was replaced since, and the index with it
                    raise UnusableStore.caused_by(exc) from exc
        return self._indexes[seeded.id]

    async def _open(self, seeded: SeededIndex) -> None:
        # Who waits for the index need not wait until what it was made from is removed: the lock ends before the stack.
        async with AsyncExitStack() as stack, self._opening:
            if seeded.id in self._indexes:
                return
            self._refuse_known_damage(seeded.id)
            folder = await stack.enter_async_context(self._store.attached(seeded.id))
            try:
                index = await asyncio.to_thread(MatchIndex, folder, messages=seeded.messages)
            except UnusableStore as exc:
                self._damaged = seeded.id, time.monotonic() + SECONDS_TO_REMEMBER, exc.with_traceback(None)
                raise
            self._indexes[seeded.id] = index

    def _refuse_known_damage(self, name: str) -> None:
        """Raises UnusableStore where an index was damaged a moment ago: to fetch one from MongoDB takes long."""
        if self._damaged and self._damaged[0] == name and time.monotonic() < self._damaged[1]:
            raise UnusableStore.caused_by(self._damaged[2])

    async def _seeded_index(self, version: Version, rung: Rung) -> SeededIndex:
        seeded = await self.seeded()
        if version not in seeded:
            raise NotSeeded(version)
        index = seeded[version].index
        if index is None or not reaches(index.depth, rung):
            raise RungNotSeeded(version, rung)
        return index

    async def messages_at(self, version: Version, places: Sequence[Coordinates]) -> list[LocatedMessage]:
        """The messages at these places, in their order; one that is not there, in another corpus, is left out."""
        if not places:
            return []
        schema = SCHEMAS[version]
        documents = await self._store.documents(version, sorted({schema.position(place) for place in places}))
        held = {document[POSITION]: document for document in documents}
        found = [
            schema.message_at(held[position], place) for place in places if (position := schema.position(place)) in held
        ]
        return [said for said in found if said]

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

    async def check(self, version: Version, depth: Rung | None) -> None:
        """Raises what keeps chats by a version from being answered, down to a rung; None: as far as it was seeded for.

        Cheap, but for the first time after a seeding, which opens the index as the first inexact chat would. Damage
        that a search has met since then is raised as well.
        """
        await self._store.check()
        seeded = await self.seeded()
        if version not in seeded:
            raise NotSeeded(version)
        index = seeded[version].index
        rung = depth or (index.depth if index else None)
        if rung in INDEXED:
            (await self.index(version, rung)).check()

    async def contents(self) -> Mapping[Version, Seeded]:
        """The versions that are seeded; empty before the first seeding."""
        return await self._store.seeded()

    async def seeding(self) -> Seeding | None:
        """The last seeding, by whichever process."""
        return await self._store.seeding()

    async def documents(self, version: Version, positions: Sequence[int]) -> Sequence[Document]:
        """The documents at these positions, in order. Raises NotSeeded where the corpus lacks the version."""
        return await self._store.documents(version, positions)

    async def seeded(self) -> Mapping[Version, Seeded]:
        """The versions that are seeded; at least one. Raises NotSeeded where nothing is."""
        seeded = await self._store.seeded()
        if self._indexes:
            await self._close_replaced(seeded)
        if not seeded:
            raise NotSeeded
        return seeded

    async def _close_replaced(self, seeded: Mapping[Version, Seeded]) -> None:
        in_use = {entry.index.id for entry in seeded.values() if entry.index}
        if replaced := [self._indexes.pop(name) for name in list(self._indexes) if name not in in_use]:
            await asyncio.to_thread(replaced.clear)  # which frees the space of files that are gone, and takes its time


def _choices(documents: Sequence[Document], schema: Schema, lookup: Lookup) -> list[Choice]:
    choices: list[Choice] = []
    for document in documents:
        choices += schema.choices(document, lookup)
    return choices


async def _limited(
    found: Batches[Document], schema: Schema, lookup: Lookup, limit: int | None
) -> AsyncGenerator[list[Choice]]:
    """The choices of some documents, so many at most, in batches that are not empty."""
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
