"""Whole conversations of a corpus, in their order."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final

import msgspec

from mimic.corpus.conversation import Conversation, Message
from mimic.corpus.schemas import SCHEMAS, Document, Schema, Version, conversation_of
from mimic.corpus.stores.base import Store
from mimic.errors import CorpusReplaced, NotSeeded

NESTED_AT_ONCE: Final = 8
AT_ONCE: Final = 256
"""Documents to read at a time: a nested one may have 16 MiB."""


async def conversations_of(store: Store) -> AsyncGenerator[Conversation]:
    """Yield the conversations of a corpus, from v1 if it is seeded. Other versions lack conversations without messages.

    Raises NotSeeded, and CorpusReplaced if a seeding replaces the corpus meanwhile.
    """
    seeded = await store.seeded()
    if not seeded:
        raise NotSeeded
    version: Version = "v1" if "v1" in seeded else next(iter(seeded))
    schema, entry = SCHEMAS[version], seeded[version]
    step = NESTED_AT_ONCE if schema.is_nested else AT_ONCE
    pending: Conversation | None = None
    for start in range(0, entry.documents, step):
        documents = await store.documents(version, range(start, min(start + step, entry.documents)))
        if (await store.seeded()).get(version) != entry:
            raise CorpusReplaced
        for document in documents:
            if pending and schema.index(document) == 0:
                yield pending
                pending = None
            pending = _extended(pending, schema, document)
    if pending:
        yield pending


def _extended(conversation: Conversation | None, schema: Schema, document: Document) -> Conversation:
    messages: Sequence[Message] = schema.messages(document)
    if conversation is None:
        return Conversation(conversation_of(document), list(messages))
    return msgspec.structs.replace(conversation, messages=[*conversation.messages, *messages])
