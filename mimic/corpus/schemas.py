"""The three schemas: how a conversation becomes documents, and how answers are found in them. Pure: no I/O.

A schema turns a conversation into documents, a request's messages into a lookup, and a found document into choices.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise, zip_longest
from typing import Any, ClassVar, Final, Literal, TypeAlias

import msgspec

from mimic.corpus.conversation import (
    Choice,
    Conversation,
    Coordinates,
    LocatedMessage,
    Message,
    former_role_of,
    role_of,
)
from mimic.corpus.sizes import fits

BYTES_OF_TOKENS: Final = 16
"""The most bytes of a number of tokens in an array of BSON: its type, its index as a text, and 32 bits."""

Version: TypeAlias = Literal["v1", "v2", "v3"]
Document: TypeAlias = Mapping[str, Any]

POSITION: Final = "position"
"""The field that stores add to a document: its position in the corpus, from 0."""
MESSAGES: Final = "conversations"
"""The field of a nested document that holds the messages of its conversation."""
TOKENS: Final = "tokens"
"""The optional field with the number of tokens of the document's message; of a nested document, of all its messages."""
_ANSWER: Final = "nextMessageValue"
_CONVERSATION: Final = "externalId"
_INDEX: Final = "messageIndex"


class Lookup(msgspec.Struct, frozen=True):
    """A query for documents of ``version`` in which each of ``fields`` has the given value, in corpus order.

    ``index`` names the indexed field that narrows the search, and ``key`` its value. The key is a digest and only finds
    candidates; ``fields`` decide. Without an index, ``fields`` apply to an element of the document's ``conversations``,
    and the store scans.

    ``roles`` maps fields with a sender to the required role. Stores may ignore them: the digest is of roles, and the
    results of a scan are checked again.
    """

    version: Version
    fields: Mapping[str, str]
    roles: Mapping[str, str] = {}
    index: str | None = None
    key: int = 0

    def matches(self, document: Document) -> bool:
        """True if a document with the key, or an element of a nested document, meets this lookup."""
        return all(document[field] == value for field, value in self.fields.items()) and all(
            role_of(document[field]) == role for field, role in self.roles.items()
        )


class Schema(ABC):
    """A layout of documents.

    ``fields`` are all fields of a document. ``indexes`` are the indexed fields, present only in documents that hold an
    answer. ``integers`` are the fields with numbers. ``answer`` are the fields that :meth:`choices` reads, texts last.
    Documents from a store also have a :data:`POSITION`, and :data:`TOKENS` if a seeding counted them. A nested document
    is a whole conversation.
    """

    version: ClassVar[Version]
    is_nested: ClassVar[bool] = False
    fields: ClassVar[Sequence[str]]
    indexes: ClassVar[Sequence[str]]
    integers: ClassVar[Sequence[str]]
    answer: ClassVar[Sequence[str]]

    @abstractmethod
    def documents(self, conversation: Conversation) -> Iterator[dict[str, Any]]:
        """The conversation's documents in order."""

    @abstractmethod
    def lookup(self, messages: Sequence[Message], *, by_role: bool = False, former: bool = False) -> Lookup:
        """The lookup for the answers to these messages (at least one). ``by_role`` accepts any sender of the same role.

        ``former`` uses the digests of a corpus that Mimic 0.1 seeded, which know fewer names of roles.
        """

    def former_lookup(self, messages: Sequence[Message], *, by_role: bool = False) -> Lookup | None:
        """The lookup to try if :meth:`lookup` finds nothing; None if it would be the same."""
        if self.indexes and any(former_role_of(one.sender) != role_of(one.sender) for one in messages[-2:]):
            return self.lookup(messages, by_role=by_role, former=True)
        return None

    @abstractmethod
    def choices(self, document: Document, lookup: Lookup) -> Sequence[Choice]:
        """The answers that a document found by ``lookup`` holds, in order."""

    @abstractmethod
    def messages(self, document: Document) -> list[Message]:
        """The messages of a document: all of a nested document, otherwise one."""

    def tokens(self, document: Document) -> Sequence[int]:
        """The number of tokens of each of the document's messages; empty if no seeding counted them."""
        found = document.get(TOKENS)
        return () if found is None else found if self.is_nested else (found,)

    @abstractmethod
    def answered(self, document: Document) -> list[Message]:
        """The messages of a document that another message followed."""

    def index(self, document: Document) -> int:
        """The position of the document's first message in its conversation."""
        return int(document.get(_INDEX, 0))

    @abstractmethod
    def position(self, place: Coordinates) -> int:
        """The position in the corpus of the document that holds the message at a place."""

    @abstractmethod
    def message_at(self, document: Document, place: Coordinates) -> LocatedMessage | None:
        """The message of a document at a place; None if the document is of another corpus and has no such place."""


class Nested(Schema):
    """v1: a document per conversation, as in the dump. Not indexed: the baseline for measuring the others."""

    version: ClassVar[Version] = "v1"
    is_nested = True
    fields: ClassVar[Sequence[str]] = ("externalId", "conversations")
    indexes = ()
    integers = ()
    answer = ("position", "externalId", "conversations")

    def documents(self, conversation: Conversation) -> Iterator[dict[str, Any]]:
        messages = [{"from": message.sender, "value": message.value} for message in conversation.messages]
        document: dict[str, Any] = {"externalId": conversation.id, "conversations": messages}
        if conversation.tokens and fits(conversation, BYTES_OF_TOKENS * len(messages)):
            document[TOKENS] = list(conversation.tokens)
        yield document

    def lookup(self, messages: Sequence[Message], *, by_role: bool = False, former: bool = False) -> Lookup:
        return Lookup("v1", *_conditions(messages[-1], by_role))

    def choices(self, document: Document, lookup: Lookup) -> Sequence[Choice]:
        value = lookup.fields["value"]
        conversation, place = document["externalId"], document["position"]
        return [
            Choice(Message(following["from"], following["value"]), conversation, position, place)
            for position, (message, following) in enumerate(pairwise(document["conversations"]), 1)
            if message["value"] == value and lookup.matches(message)
        ]

    def messages(self, document: Document) -> list[Message]:
        return [Message(message["from"], message["value"]) for message in document[MESSAGES]]

    def answered(self, document: Document) -> list[Message]:
        return self.messages(document)[:-1]

    def position(self, place: Coordinates) -> int:
        return place.conversation

    def message_at(self, document: Document, place: Coordinates) -> LocatedMessage | None:
        messages = document[MESSAGES]
        if place.index >= len(messages):
            return None
        found = messages[place.index]
        return LocatedMessage(place, Message(found["from"], found["value"]), None)


class NextMessage(Schema):
    """v2: a document per message, with the next message."""

    version: ClassVar[Version] = "v2"
    fields: ClassVar[Sequence[str]] = (
        "externalId",
        "messageIndex",
        "from",
        "value",
        "nextMessageType",
        "nextMessageValue",
        "messageDigest",
    )
    indexes: ClassVar[Sequence[str]] = ("messageDigest",)
    integers: ClassVar[Sequence[str]] = ("messageIndex", "messageDigest")
    answer = ("position", "externalId", "messageIndex", "nextMessageType", "nextMessageValue")

    def documents(self, conversation: Conversation) -> Iterator[dict[str, Any]]:
        messages = conversation.messages
        keys = self._keys(messages[:-1])
        for index, (message, following) in enumerate(zip_longest(messages, messages[1:])):
            document = {
                "externalId": conversation.id,
                "messageIndex": index,
                "from": message.sender,
                "value": message.value,
                "nextMessageType": following and following.sender,
                "nextMessageValue": following and following.value,
            }
            if following:
                document.update(next(keys))
            if conversation.tokens:
                document[TOKENS] = conversation.tokens[index]
            yield document

    def _keys(self, messages: Sequence[Message]) -> Iterator[dict[str, int]]:
        """The indexed fields of each message that another message follows."""
        for message in messages:
            yield {"messageDigest": digest(message)}

    def lookup(self, messages: Sequence[Message], *, by_role: bool = False, former: bool = False) -> Lookup:
        last = messages[-1]
        return Lookup(self.version, *_conditions(last, by_role), "messageDigest", digest(last, former=former))

    def choices(self, document: Document, lookup: Lookup) -> Sequence[Choice]:
        answer = Message(document["nextMessageType"], document["nextMessageValue"])
        return (Choice(answer, document["externalId"], document["messageIndex"] + 1, document["position"]),)

    def messages(self, document: Document) -> list[Message]:
        return [Message(document["from"], document["value"])]

    def answered(self, document: Document) -> list[Message]:
        return self.messages(document) if document[_ANSWER] is not None else []

    def position(self, place: Coordinates) -> int:
        return place.message

    def message_at(self, document: Document, place: Coordinates) -> LocatedMessage | None:
        return LocatedMessage(place, Message(document["from"], document["value"]), None)


class PreviousAndNext(NextMessage):
    """v3: v2 with the previous message, to look up the last two messages together."""

    version: ClassVar[Version] = "v3"
    fields: ClassVar[Sequence[str]] = (*NextMessage.fields, "prevMessageType", "prevMessageValue", "pairDigest")
    indexes: ClassVar[Sequence[str]] = ("messageDigest", "pairDigest")
    integers: ClassVar[Sequence[str]] = (*NextMessage.integers, "pairDigest")

    def documents(self, conversation: Conversation) -> Iterator[dict[str, Any]]:
        previous: Message | None = None
        for message, document in zip(conversation.messages, super().documents(conversation), strict=True):
            document["prevMessageType"] = previous and previous.sender
            document["prevMessageValue"] = previous and previous.value
            yield document
            previous = message

    def _keys(self, messages: Sequence[Message]) -> Iterator[dict[str, int]]:
        """The same values as :func:`digest` returns, but each text is hashed twice, not three times."""
        previous = None
        for message in messages:
            packed = _pack(message)
            hashed = blake2b(packed, digest_size=8)
            keys = {"messageDigest": _as_integer(hashed.digest())}
            if previous:
                previous.update(packed)
                keys["pairDigest"] = _as_integer(previous.digest())
            yield keys
            previous = hashed

    def lookup(self, messages: Sequence[Message], *, by_role: bool = False, former: bool = False) -> Lookup:
        if len(messages) == 1:
            return super().lookup(messages, by_role=by_role, former=former)
        previous, last = messages[-2:]
        fields, roles = _conditions(last, by_role)
        fields_before, roles_before = _conditions(previous, by_role, "prevMessageType", "prevMessageValue")
        key = digest(previous, last, former=former)
        return Lookup(self.version, {**fields, **fields_before}, {**roles, **roles_before}, "pairDigest", key)

    def message_at(self, document: Document, place: Coordinates) -> LocatedMessage | None:
        if document["prevMessageType"] is None:
            return super().message_at(document, place)
        previous = Message(document["prevMessageType"], document["prevMessageValue"])
        return LocatedMessage(place, Message(document["from"], document["value"]), previous)


SCHEMAS: Mapping[Version, Schema] = {"v1": Nested(), "v2": NextMessage(), "v3": PreviousAndNext()}
VERSIONS: tuple[Version, ...] = tuple(SCHEMAS)


def digest(*messages: Message, former: bool = False) -> int:
    """A signed 64-bit BLAKE2b digest (RFC 7693) of messages. Lengths separate their roles and texts.

    The digest is of roles, not of senders: one key finds a message by any sender of that role. ``former`` uses the
    roles that Mimic 0.1 knew.
    """
    return _as_integer(blake2b(b"".join([_pack(message, former) for message in messages]), digest_size=8).digest())


def _pack(message: Message, former: bool = False) -> bytes:
    role = former_role_of(message.sender) if former else role_of(message.sender)
    return f"{len(role)}:{len(message.value)}:{role}{message.value}".encode()


def _as_integer(hashed: bytes) -> int:
    return int.from_bytes(hashed, "big", signed=True)


def _conditions(
    message: Message, by_role: bool, sender: str = "from", text: str = "value"
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The fields and the roles of a lookup for a message. ``sender`` and ``text`` are the names of its two fields."""
    if by_role:
        return {text: message.value}, {sender: role_of(message.sender)}
    return {sender: message.sender, text: message.value}, {}


def conversation_of(document: Document) -> str | None:
    """The id of the conversation that a document belongs to."""
    conversation: str | None = document[_CONVERSATION]
    return conversation


def characters_of(document: Document) -> int:
    """The characters of a document's answer; of a nested document, of all its messages."""
    if MESSAGES in document:
        return sum(len(message["value"]) for message in document[MESSAGES])
    return len(document[_ANSWER])
