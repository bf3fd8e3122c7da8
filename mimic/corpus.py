"""The corpus: what can be asked of it, in the words of the domain, whatever store it is in."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from mimic.conversations import Choice, Message
from mimic.errors import NoCompletion, NotSeeded
from mimic.schemas import SCHEMAS, Version
from mimic.seedings import Seeded
from mimic.stores.base import Store


class Corpus:
    """Answers from a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def complete(
        self, messages: Sequence[Message], version: Version, limit: int | None = None, *, by_role: bool = False
    ) -> AsyncGenerator[list[Choice]]:
        """Every message that came next after these, in corpus order, in batches of bounded size.

        v1 and v2 look at the last message, v3 at the last two. At most ``limit`` choices. With ``by_role`` it does not
        matter who said them in the dump as long as the role is the same: ``human`` then also finds ``user``.

        Raises NoCompletion where nothing ever came next, and NotSeeded where the corpus lacks the version.
        """
        schema = SCHEMAS[version]
        lookup = schema.lookup(messages, by_role=by_role)
        given = 0
        # What is found by index holds one choice each; what is found by scanning, any number.
        documents_needed = limit if lookup.index else None
        async with aclosing(self.store.find(lookup, documents_needed)) as batches:
            async for documents in batches:
                choices = [choice for document in documents for choice in schema.choices(document, lookup)]
                if limit is not None:
                    choices = choices[: limit - given]
                if choices:
                    given += len(choices)
                    yield choices
                if given == limit:
                    return
        if not given:
            raise NoCompletion

    async def seeded(self) -> Mapping[Version, Seeded]:
        """What is seeded, per version. Raises NotSeeded where nothing is."""
        seeded = await self.store.seeded()
        if not seeded:
            raise NotSeeded
        return seeded
