"""An example message from the corpus: short, easy to read, and with an answer."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from mimic.corpus.conversation import Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.schemas import SCHEMAS, Document, Version

AT_A_TIME: Final = 16
MOST_SOUGHT: Final = 128
"""The first documents of the corpus are read, ``AT_A_TIME`` of them at once: each may have megabytes."""

BEST_LENGTHS: Final = range(10, 61)
LONGEST: Final = 300
"""Lengths in characters: of a message that is easy to read, and of the longest accepted one."""
BEST: Final = (False, False, False)


async def example_of(corpus: Corpus, version: Version) -> Message | None:
    """A message with an answer, or None. Prefers a short message with which a user begins a conversation.

    Raises NotSeeded if the corpus lacks the version.
    """
    found: list[_Candidate] = []
    for start in range(0, MOST_SOUGHT, AT_A_TIME):
        documents = await corpus.documents(version, range(start, start + AT_A_TIME))
        found += _candidates(documents, version)
        if not documents or any(one.rank == BEST for one in found):
            break
    best = min(found, key=lambda one: (one.rank, len(one.message.value)), default=None)
    return best.message if best else None


class _Candidate(NamedTuple):
    rank: tuple[bool, bool, bool]
    message: Message


def _candidates(documents: Sequence[Document], version: Version) -> Iterator[_Candidate]:
    """Yield messages that have an answer and fit on a line. The best candidates have the lowest rank."""
    schema = SCHEMAS[version]
    for document in documents:
        for index, message in enumerate(schema.answered(document), schema.index(document)):
            text = message.value
            if text.strip() and len(text) <= LONGEST and text.isprintable() and message.sender.isprintable():
                rank = role_of(message.sender) != "user", len(text) not in BEST_LENGTHS, index != 0
                yield _Candidate(rank, message)
