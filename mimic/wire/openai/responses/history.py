"""Items of earlier responses, which a request may refer to by id."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

import msgspec

from mimic.errors import RequestError
from mimic.spelling import shown
from mimic.wire.openai.responses.items import RawItem


class Past(msgspec.Struct, frozen=True):
    """The items before an input, in order, and the ids of the responses that have them, the oldest first."""

    items: Sequence[RawItem] = ()
    responses: Sequence[str] = ()


NO_PAST: Final = Past()


class History(ABC):
    """Stored responses, as a wire reads them. An ``owner`` finds its own responses only."""

    is_on: bool
    """False if the server stores nothing."""

    @abstractmethod
    async def before(self, response_id: str, owner: str) -> Past:
        """Inputs and outputs of a response and of its ancestors. Raises RequestError if one is missing."""

    @abstractmethod
    async def conversation(self, conversation_id: str, owner: str) -> Past:
        """The items of a conversation. Raises RequestError if it is missing."""

    @abstractmethod
    async def item(self, item_id: str, owner: str) -> RawItem:
        """An item of a stored response. Raises RequestError if it is missing."""


def no_previous_response(response_id: str) -> RequestError:
    """The error for a previous response that does not exist, or that belongs to another owner."""
    return RequestError(
        400,
        f"Previous response with id '{shown(response_id)}' not found.",
        param="previous_response_id",
        code="previous_response_not_found",
    )


def no_item(item_id: str) -> RequestError:
    """The error for a reference to an item that does not exist, or that belongs to another owner."""
    return RequestError(404, f"Item with id '{shown(item_id)}' not found.", param="input")
