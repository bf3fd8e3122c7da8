"""The size of a conversation: roughly, for batches, and exactly, for the largest document that stores take."""

from typing import Final

from mimic.corpus.conversation import Conversation

PART_SIZE: Final = 32
"""Characters that a message, or a conversation, takes by being one."""

LARGEST_DOCUMENT: Final = 16 * 1024 * 1024 - 1024
"""Bytes of BSON that a conversation may take as one v1 document: MongoDB's 16 MiB, less room for the fields that v3
adds to at most the same text. It holds on every store, so that all give the same answers."""


def message_size(sender: str, text: str) -> int:
    """Roughly the memory that a message takes, in characters; never more than the bytes that it takes in a document."""
    return PART_SIZE + len(sender) + len(text)


def conversation_size(conversation: Conversation) -> int:
    """Roughly the memory that a conversation takes, in characters."""
    messages = sum([message_size(message.sender, message.value) for message in conversation.messages])
    return PART_SIZE + len(conversation.id or "") + messages


def fits(conversation: Conversation) -> bool:
    """Whether the conversation's documents stay below MongoDB's limit in every version."""
    rough = 1024 + 4 * conversation_size(conversation)  # a character has four bytes at most
    return rough <= LARGEST_DOCUMENT or nested_size(conversation) <= LARGEST_DOCUMENT


def nested_size(conversation: Conversation) -> int:
    """The size in bytes of the conversation's v1 document with an ``_id`` of 8 bytes (bsonspec.org, version 1.1)."""

    def utf8(text: str) -> int:
        return len(text.encode())

    size = 5 + len(b"\x12_id\0") + 8
    size += len(b"\x02externalId\0") + (5 + utf8(conversation.id) if conversation.id is not None else 0)
    size += len(b"\x04conversations\0") + 5
    for index, message in enumerate(conversation.messages):
        size += len(f"\x03{index}\0") + 5
        size += len(b"\x02from\0") + 5 + utf8(message.sender)
        size += len(b"\x02value\0") + 5 + utf8(message.value)
    return size
