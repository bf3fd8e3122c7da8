"""Excerpts: the conversation that a message of the corpus was said in, a piece at a time."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from mimic.corpus.corpus import Corpus
from mimic.corpus.schemas import Document, Version
from mimic.errors import NoConversation

LONGEST_TEXT: Final = 20_000
"""Characters of a message that an excerpt holds; a conversation may have megabytes."""

LARGEST_POSITION: Final = 2**53
"""Where a corpus surely has ended."""


class Snippet(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    """A message, whole or the beginning of it. ``characters`` is the length of the whole."""

    sender: str
    value: str
    characters: int


class Excerpt(msgspec.Struct, frozen=True):
    """Messages of a conversation, from the one at position ``first`` on, up to the one before ``next``.

    ``next`` is None where the conversation ends, ``position`` that of the message in the document that was asked for
    (0 in v1, where a document is a conversation).
    """

    version: Version
    conversation: str | None
    position: int
    first: int
    next: int | None
    messages: Sequence[Snippet]


async def excerpt(corpus: Corpus, version: Version, document: int, first: int, count: int) -> Excerpt:
    """At most ``count`` messages of the conversation that the document at this position belongs to.

    Raises NoConversation where there is no such document, and NotSeeded where the corpus lacks the version.
    """
    asked = next(iter(await corpus.documents(version, [document])), None)
    found: Sequence[Mapping[str, Any]] = ()
    while asked is not None and "conversations" not in asked:
        begin = document - asked["messageIndex"] + first
        read = await corpus.documents(version, sorted({document, *range(begin, begin + count + 1)}))
        found = list(_belonging(asked, [one for one in read if one["position"] >= begin], first))
        before, asked = asked, next((one for one in read if one["position"] == document), None)
        if asked == before:  # else the corpus was replaced between the two readings
            break
    if asked is None:
        raise NoConversation(document)
    if "conversations" in asked:
        found = asked["conversations"][first : first + count + 1]
    position = asked.get("messageIndex", 0)
    messages = [_shown(message) for message in islice(found, count)]
    more = first + count if len(found) > count else None
    return Excerpt(version, asked["externalId"], position, first, more, messages)


def _belonging(asked: Document, documents: Sequence[Document], first: int) -> Iterator[Document]:
    """Those documents that go on, from the message at position ``first``, in the same conversation."""
    for index, document in enumerate(documents, first):
        if (document["messageIndex"], document["externalId"]) != (index, asked["externalId"]):
            return
        yield document


def _shown(message: Mapping[str, Any]) -> Snippet:
    text = message["value"]
    return Snippet(message["from"], text[:LONGEST_TEXT], len(text))
