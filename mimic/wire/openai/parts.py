"""Content parts of messages, which chats and responses share."""

from collections.abc import Sequence

import msgspec

from mimic.errors import RequestError


class Part(msgspec.Struct, frozen=True):
    """A part of a message. A part with a text counts as text, whatever its type; other parts are ignored."""

    type: str
    text: str | None = None


MUST_HAVE_TEXT = frozenset({"text", "input_text", "output_text"})
"""Types of parts that are invalid without a text."""


def joined_text(parts: Sequence[Part | str], path: str) -> str | None:
    """The joined texts of parts; None without any, for example for an image alone.

    Raises RequestError for a text part without its text.
    """
    texts = []
    for number, part in enumerate(parts):
        if isinstance(part, str):
            texts.append(part)
        elif part.text is not None:
            texts.append(part.text)
        elif part.type in MUST_HAVE_TEXT:
            raise missing(f"{path}[{number}].text")
    return "".join(texts) if texts else None


def missing(path: str) -> RequestError:
    """The error for a field that is required and absent."""
    return RequestError(400, f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")
