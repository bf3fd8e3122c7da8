"""A cache of outcomes: the distinct answers to some messages, computed from long lists of choices."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from mimic.corpus.conversation import Message
from mimic.corpus.manifest import Seeded
from mimic.corpus.schemas import Version

MAX_ENTRIES: Final = 32
MAX_ITEMS: Final = 200_000
"""Limits of the cache: its entries, and the items of all entries together."""

Contents: TypeAlias = Callable[[], Awaitable[Mapping[Version, Seeded]]]

_Key: TypeAlias = tuple[Version, tuple[Message, ...]]


class OutcomeCache:
    """An LRU cache of the outcomes of messages.

    An entry is valid until its corpus is replaced. ``contents`` returns the versions that are seeded now.
    """

    def __init__(self, contents: Contents, *, max_entries: int = MAX_ENTRIES, max_items: int = MAX_ITEMS) -> None:
        self._contents = contents
        self._max_entries = max_entries
        self._max_items = max_items
        self._kept: OrderedDict[_Key, tuple[Seeded, Sequence[Any]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, version: Version, messages: Sequence[Message]) -> Sequence[Any] | None:
        """The cached outcomes of a version for these messages, or None."""
        key = version, tuple(messages)
        if key not in self._kept:
            return None
        seeded, found = self._kept[key]
        if await self._seeded(version) != seeded:
            self._kept.pop(key, None)
            return None
        if key in self._kept:  # another task may have removed it meanwhile
            self._kept.move_to_end(key)
        return found

    async def get_or_compute(
        self, version: Version, messages: Sequence[Message], work: Callable[[], Awaitable[Sequence[Any]]]
    ) -> Sequence[Any]:
        """Compute the outcomes with ``work`` and cache them. Raises the errors of ``work``."""
        before = await self._seeded(version)
        found = await work()
        if before and before == await self._seeded(version):  # otherwise the outcomes may be of either corpus
            self._kept[version, tuple(messages)] = before, found
            self._kept.move_to_end((version, tuple(messages)))
            while len(self._kept) > self._max_entries or self._items() > self._max_items:
                self._kept.popitem(last=False)
        return found

    def _items(self) -> int:
        return sum(len(found) for _, found in self._kept.values())

    async def _seeded(self, version: Version) -> Seeded | None:
        return (await self._contents()).get(version)
