"""The fields of threads and of their messages that clients give."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from mimic.wire.openai.assistants.objects import NewMessage, known_resources
from mimic.wire.openai.responses.items import RawItem
from mimic.wire.openai.sampled import Metadata

MOST_MESSAGES: Final = 100_000
"""Messages that a thread can be created with. The limit of a body is lower."""

NewMessages: TypeAlias = Annotated[Sequence[NewMessage], msgspec.Meta(max_length=MOST_MESSAGES)]


class NewThread(msgspec.Struct, frozen=True, kw_only=True):
    """A thread to create, with its messages."""

    messages: NewMessages | None = None
    metadata: Metadata | None = None
    tool_resources: Mapping[str, Any] | None = None

    def items(self, created_at: int) -> Sequence[RawItem]:
        """The messages as items of a conversation."""
        return [message.item(created_at) for message in self.messages or ()]


class ThreadChange(msgspec.Struct, frozen=True, kw_only=True):
    """New values of a thread. An absent field stays as it is."""

    metadata: Metadata | msgspec.UnsetType | None = msgspec.UNSET
    tool_resources: Mapping[str, Any] | msgspec.UnsetType | None = msgspec.UNSET

    def fields(self) -> Mapping[str, Any]:
        """The given fields."""
        found: dict[str, Any] = {}
        if self.metadata is not msgspec.UNSET:
            found["metadata"] = self.metadata or {}
        if self.tool_resources is not msgspec.UNSET:
            found["tool_resources"] = known_resources(self.tool_resources or {})
        return found


class MetadataChange(msgspec.Struct, frozen=True, kw_only=True):
    """The new metadata of a message or of a run. Without them they stay as they are."""

    metadata: Metadata | msgspec.UnsetType | None = msgspec.UNSET

    def fields(self) -> Mapping[str, Any]:
        """The given fields."""
        return {} if self.metadata is msgspec.UNSET else {"metadata": self.metadata or {}}
