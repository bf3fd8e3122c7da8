"""The text after a tool call in its conversation: the assistant's answer once the result is there."""

from collections.abc import Sequence
from typing import Final

from mimic.corpus.calls import calls_in
from mimic.corpus.conversation import Choice, Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.schemas import SCHEMAS, Version, conversation_of

MAX_DISTANCE: Final = 16
"""Messages after a call that are searched for the text."""


async def text_after(corpus: Corpus, version: Version, call: Choice) -> Choice | None:
    """The assistant's next text after a call and before the next message of the user; None if there is none."""
    for offset, message in enumerate(await _after(corpus, version, call), 1):
        role = role_of(message.sender)
        if role == "user":
            break
        if role == "assistant" and message.value and not calls_in(message):
            document = call.document if SCHEMAS[version].is_nested else call.document + offset
            return Choice(message, call.conversation, call.position + offset, document)
    return None


async def _after(corpus: Corpus, version: Version, call: Choice) -> Sequence[Message]:
    """The messages after a call, in order. Documents are read by position; other conversations are left out."""
    schema = SCHEMAS[version]
    if schema.is_nested:
        documents = await corpus.documents(version, [call.document])
        return schema.messages(documents[0])[call.position + 1 :][:MAX_DISTANCE] if documents else ()
    first = call.document + 2  # the document of a choice holds the message before it, and the next one the choice
    documents = await corpus.documents(version, range(first, first + MAX_DISTANCE))
    return [
        schema.messages(document)[0]
        for offset, document in enumerate(documents)
        if schema.index(document) == call.position + 1 + offset and conversation_of(document) == call.conversation
    ]
