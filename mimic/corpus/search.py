"""A search of the corpus for messages that are similar to a text."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from mimic.corpus.conversation import Coordinates, Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.index import MatchIndex
from mimic.corpus.schemas import POSITION, SCHEMAS, Document, Version, conversation_of
from mimic.corpus.similarity import likeness, trigrams

Role: TypeAlias = Literal["user", "assistant", "system"]

CANDIDATES: Final = 50
"""Messages per role that the index returns for comparison with the text."""
AT_A_TIME: Final = 10
"""Documents in memory at a time. Each may have megabytes."""
SHOWN_CHARACTERS: Final = 300


class SearchHit(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    """A message that was found: its text or the beginning of it, its length in characters, and its similarity.

    A ``score`` of 1 means equal apart from case, punctuation and white space. ``position`` is the position in the
    conversation, ``document`` the position of the message's document in the corpus; both count from 0.
    """

    sender: str
    value: str
    characters: int
    score: float
    document: int
    conversation: str | None
    position: int


async def search(corpus: Corpus, version: Version, text: str, role: Role | None, most: int) -> list[SearchHit]:
    """The messages most similar to a text, best first, each text once; of one role, or of all roles.

    Finds messages that have an answer and share words with the text. If there are none, finds messages that share parts
    of words. Raises NotSeeded if the corpus lacks the version, and RungNotSeeded if it was seeded without the index.
    """
    index, text_trigrams = await corpus.index(version), trigrams(text)
    queries = [Message(one, text) for one in ((role,) if role else get_args(Role))]
    hits: dict[tuple[str, str], SearchHit] = {}
    async for place, document in _documents(corpus, version, await asyncio.to_thread(_candidates, index, queries)):
        if hit := _hit(version, place, document, text_trigrams):
            hits.setdefault((hit.sender, hit.value), hit)
    return sorted(hits.values(), key=lambda hit: -hit.score)[:most]


def _candidates(index: MatchIndex, queries: Sequence[Message]) -> list[Coordinates]:
    """The places that the index finds for each message; if none, the places that it finds despite spelling mistakes."""
    found = [place for message in queries for place in index.similar(message, CANDIDATES)]
    return found or [place for message in queries for place in index.misspelt(message, CANDIDATES)]


async def _documents(
    corpus: Corpus, version: Version, places: Sequence[Coordinates]
) -> AsyncIterator[tuple[Coordinates, Document]]:
    """Yield each place with its document. Places without one are left out: the corpus was replaced meanwhile."""
    position = SCHEMAS[version].position
    for start in range(0, len(places), AT_A_TIME):
        chunk = places[start : start + AT_A_TIME]
        found = await corpus.documents(version, sorted({position(place) for place in chunk}))
        by_position = {document[POSITION]: document for document in found}
        for place in chunk:
            if position(place) in by_position:
                yield place, by_position[position(place)]


def _hit(version: Version, place: Coordinates, document: Document, text_trigrams: frozenset[str]) -> SearchHit | None:
    located = SCHEMAS[version].message_at(document, place)
    if located is None:
        return None
    message = located.message
    return SearchHit(
        sender=message.sender,
        value=message.value[:SHOWN_CHARACTERS],
        characters=len(message.value),
        score=round(likeness(text_trigrams, trigrams(message.value)), 3),
        document=document[POSITION],
        conversation=conversation_of(document),
        position=place.index,
    )
