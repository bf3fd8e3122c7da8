"""Excerpts: parts of the conversation that a message of the corpus belongs to."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec

from mimic.corpus.calls import calls_in
from mimic.corpus.conversation import SENDERS, Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.schemas import POSITION, SCHEMAS, Document, Schema, Version, conversation_of
from mimic.errors import NoConversation

LONGEST_TEXT: Final = 20_000
"""Characters of a message that an excerpt holds. A conversation may have megabytes."""

LARGEST_POSITION: Final = 2**53
"""A position beyond the end of any corpus."""


class SnippetCall(msgspec.Struct, frozen=True):
    """A tool call in a message: the name of the tool, and its arguments as JSON, or as a text for a custom tool."""

    name: str
    arguments: str


class Snippet(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    """A message or its beginning. ``characters`` is the length of the whole message.

    ``role`` is the role of the sender in a chat; tool calls have the role ``call``, and results of tools ``result``. It
    is None for a sender that chats cannot find. ``tool_calls`` are the calls in a message that is not cut.
    """

    sender: str
    value: str
    characters: int
    role: str | None
    tool_calls: Sequence[SnippetCall] = ()


class Excerpt(msgspec.Struct, frozen=True):
    """Messages of a conversation, from position ``first`` up to but not including ``next``.

    ``next`` is None at the end of the conversation. ``position`` is the position of the requested document's message:
    0 in v1, where a document is a conversation.
    """

    version: Version
    conversation: str | None
    position: int
    first: int
    next: int | None
    messages: Sequence[Snippet]


async def excerpt(corpus: Corpus, version: Version, document: int, first: int, count: int) -> Excerpt:
    """At most ``count`` messages, from position ``first`` on, of the conversation that a document belongs to.

    ``document`` is a position in the corpus. Raises NoConversation if there is no document at that position, and
    NotSeeded if the corpus lacks the version.
    """
    schema = SCHEMAS[version]
    anchor = next(iter(await corpus.documents(version, [document])), None)
    found: list[Message] = []
    while anchor is not None and not schema.is_nested:
        begin = document - schema.index(anchor) + first
        read = await corpus.documents(version, sorted({document, *range(begin, begin + count + 1)}))
        found = list(_messages_from(schema, anchor, [one for one in read if one[POSITION] >= begin], first))
        before, anchor = anchor, next((one for one in read if one[POSITION] == document), None)
        if anchor == before:  # otherwise the corpus was replaced between the two reads
            break
    if anchor is None:
        raise NoConversation(document)
    if schema.is_nested:
        found = schema.messages(anchor)[first : first + count + 1]
    messages = [_snippet(message) for message in islice(found, count)]
    more = first + count if len(found) > count else None
    return Excerpt(version, conversation_of(anchor), schema.index(anchor), first, more, messages)


def _messages_from(schema: Schema, anchor: Document, documents: Sequence[Document], first: int) -> Iterator[Message]:
    """The messages of the documents that continue the same conversation, from position ``first`` on."""
    for index, document in enumerate(documents, first):
        if (schema.index(document), conversation_of(document)) != (index, conversation_of(anchor)):
            return
        yield from schema.messages(document)


def _snippet(message: Message) -> Snippet:
    role, length = role_of(message.sender), len(message.value)
    calls = _calls(message) if length <= LONGEST_TEXT else ()
    return Snippet(message.sender, message.value[:LONGEST_TEXT], length, role if role in SENDERS else None, calls)


def _calls(message: Message) -> Sequence[SnippetCall]:
    encode = msgspec.json.Encoder().encode
    try:
        return [
            SnippetCall(
                call.name, call.arguments if isinstance(call.arguments, str) else encode(call.arguments).decode()
            )
            for call in calls_in(message)
        ]
    except RecursionError:  # nested as deep as the decoder allows
        return ()
