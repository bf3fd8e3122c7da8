"""The three ways to lay a conversation out in documents, and to find answers again. Pure: no I/O.

A schema turns a conversation into documents, messages into a lookup, and a document that was found into choices.
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

Version: TypeAlias = Literal["v1", "v2", "v3"]
Document: TypeAlias = Mapping[str, Any]

POSITION: Final = "position"
"""The field of a document that a store gives which says where it stands among those of the corpus, from 0."""
MESSAGES: Final = "conversations"
"""The field of a nested document that holds the messages of its conversation."""
_ANSWER: Final = "nextMessageValue"
_CONVERSATION: Final = "externalId"
_INDEX: Final = "messageIndex"


class Lookup(msgspec.Struct, frozen=True):
    """What a store must find: documents of ``version`` in which each of ``fields`` has the value given for it.

    In corpus order. ``index`` names the indexed field that narrows the search down, and ``key`` its value: a digest, so
    only a way to find candidates; ``fields`` decide. Without an index, ``fields`` are those of an element of the
    document's ``conversations``, and the store scans.

    ``roles`` are fields with a sender, and the role that each is to have. A store need not look at them: the digest is
    of roles, and what was found by a scan is looked at again.
    """

    version: Version
    fields: Mapping[str, str]
    roles: Mapping[str, str] = {}
    index: str | None = None
    key: int = 0

    def matches(self, document: Document) -> bool:
        """Whether a document that has the key, or an element of a nested one, is one of those to be found."""
        return all(document[field] == value for field, value in self.fields.items()) and all(
            role_of(document[field]) == role for field, role in self.roles.items()
        )


class Schema(ABC):
    """One layout of documents.

    ``fields`` are those a document may have, ``indexes`` the indexed ones among them (present only in documents that
    hold an answer), ``integers`` those that are numbers, ``answer`` those that :meth:`choices` reads, texts last. A
    document that a store gives has a :data:`POSITION` besides. A nested document is a whole conversation.
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
        """What answers these messages (at least one). With ``by_role``, said by anybody in the same role.

        With ``former``, in a corpus that Mimic 0.1 seeded, whose digests know fewer names of roles.
        """

    def former_lookup(self, messages: Sequence[Message], *, by_role: bool = False) -> Lookup | None:
        """What may answer these messages where :meth:`lookup` finds nothing; None where it is the same."""
        if self.indexes and any(former_role_of(one.sender) != role_of(one.sender) for one in messages[-2:]):
            return self.lookup(messages, by_role=by_role, former=True)
        return None

    @abstractmethod
    def choices(self, document: Document, lookup: Lookup) -> Sequence[Choice]:
        """The answers that a document found by ``lookup`` holds, in order."""

    @abstractmethod
    def messages(self, document: Document) -> list[Message]:
        """The messages that a document stands for: of a nested one all, else one."""

    @abstractmethod
    def answered(self, document: Document) -> list[Message]:
        """Those of :meth:`messages` that something followed."""

    def index(self, document: Document) -> int:
        """The position in its conversation of the first message that a document stands for."""
        return int(document.get(_INDEX, 0))

    @abstractmethod
    def position(self, place: Coordinates) -> int:
        """The position of the document that holds the message at a place."""

    @abstractmethod
    def message_at(self, document: Document, place: Coordinates) -> LocatedMessage | None:
        """What a document at that position holds at a place; None where it is another corpus's."""


class Nested(Schema):
    """v1: a document per conversation, as in the dump. Not indexed: the baseline the others are measured against."""

    version: ClassVar[Version] = "v1"
    is_nested = True
    fields: ClassVar[Sequence[str]] = ("externalId", "conversations")
    indexes = ()
    integers = ()
    answer = ("position", "externalId", "conversations")

    def documents(self, conversation: Conversation) -> Iterator[dict[str, Any]]:
        messages = [{"from": message.sender, "value": message.value} for message in conversation.messages]
        yield {"externalId": conversation.id, "conversations": messages}

    def lookup(self, messages: Sequence[Message], *, by_role: bool = False, former: bool = False) -> Lookup:
        return Lookup("v1", *_wanted(messages[-1], by_role))

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
    """v2: a document per message, with the message that came next."""

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
            yield document

    def _keys(self, messages: Sequence[Message]) -> Iterator[dict[str, int]]:
        """The indexed fields of the messages that something followed."""
        for message in messages:
            yield {"messageDigest": digest(message)}

    def lookup(self, messages: Sequence[Message], *, by_role: bool = False, former: bool = False) -> Lookup:
        last = messages[-1]
        return Lookup(self.version, *_wanted(last, by_role), "messageDigest", digest(last, former=former))

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
    """v3: v2 with the message that came before, so that the last two can be looked up together."""

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
        """As :func:`digest` would have it, but that each text is hashed twice and not three times."""
        previous = None
        for message in messages:
            packed = _packed(message)
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
        fields, roles = _wanted(last, by_role)
        fields_before, roles_before = _wanted(previous, by_role, "prevMessageType", "prevMessageValue")
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
    """A signed 64-bit BLAKE2b digest (RFC 7693) of messages, roles and texts told apart by their lengths.

    Of roles and not of senders, so that one key finds a message whoever said it in that role; with ``former``, of
    roles as Mimic 0.1 knew them.
    """
    return _as_integer(blake2b(b"".join([_packed(message, former) for message in messages]), digest_size=8).digest())


def _packed(message: Message, former: bool = False) -> bytes:
    role = former_role_of(message.sender) if former else role_of(message.sender)
    return f"{len(role)}:{len(message.value)}:{role}{message.value}".encode()


def _as_integer(hashed: bytes) -> int:
    return int.from_bytes(hashed, "big", signed=True)


def _wanted(
    message: Message, by_role: bool, sender: str = "from", text: str = "value"
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The fields that a message must have, and the roles, by the names of the fields for its sender and its text."""
    if by_role:
        return {text: message.value}, {sender: role_of(message.sender)}
    return {sender: message.sender, text: message.value}, {}


def conversation_of(document: Document) -> str | None:
    """The id of the conversation that a document is of."""
    conversation: str | None = document[_CONVERSATION]
    return conversation


def characters_of(document: Document) -> int:
    """The characters of text that a document was found for: of a nested one all, else the answer's."""
    if MESSAGES in document:
        return sum(len(message["value"]) for message in document[MESSAGES])
    return len(document[_ANSWER])
