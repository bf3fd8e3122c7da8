"""Messages and conversations, the plain data that everything else is about."""

from collections.abc import Sequence

import msgspec


class Message(msgspec.Struct, frozen=True, gc=False, rename={"sender": "from"}):
    """One message: who speaks, and the text.

    In JSON: ``{"from": "human", "value": "..."}``. ``sender`` is whatever the dump holds (``human``, ``gpt``,
    ``system``, ``user``, ``chatgpt``, ``bing``, ``bard``, or anything else).
    """

    sender: str
    value: str


class Conversation(msgspec.Struct, frozen=True):
    """One element of a dump: its messages in order. A dump may leave the id out."""

    id: str | None
    messages: Sequence[Message]
