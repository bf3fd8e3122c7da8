"""The size of a conversation: approximate for batches, exact for the largest document that stores accept."""

from typing import Final

from mimic.corpus.conversation import Conversation

PART_SIZE: Final = 32
"""Characters to add for each message and each conversation."""

LARGEST_DOCUMENT: Final = 16 * 1024 * 1024 - 1024
"""Largest BSON size in bytes of a conversation as one v1 document: MongoDB's limit of 16 MiB, less 1 KiB for the fields
that v3 adds. The limit holds on every store, so that all stores give the same answers."""


def message_size(sender: str, text: str) -> int:
    """The approximate memory of a message, in characters. Never more than its bytes in a document."""
    return PART_SIZE + len(sender) + len(text)


def conversation_size(conversation: Conversation) -> int:
    """The approximate memory of a conversation, in characters."""
    messages = sum([message_size(message.sender, message.value) for message in conversation.messages])
    return PART_SIZE + len(conversation.id or "") + messages


def fits(conversation: Conversation, more_bytes: int = 0) -> bool:
    """True if the conversation's documents, with some more bytes, stay below MongoDB's limit in every version."""
    upper_bound = 1024 + more_bytes + 4 * conversation_size(conversation)  # a character has at most four bytes
    return upper_bound <= LARGEST_DOCUMENT or nested_size(conversation) + more_bytes <= LARGEST_DOCUMENT


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
