"""A search of the corpus for messages that are similar to a text."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from mimic.corpus.conversation import Coordinates, Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.schemas import POSITION, SCHEMAS, Document, Version, conversation_of
from mimic.corpus.similar.index import MatchIndex
from mimic.corpus.similar.measure import Measure

Role: TypeAlias = Literal["user", "assistant", "system", "call", "result"]

CANDIDATES: Final = 50
"""Messages per role that the index returns for comparison with the text."""
AT_A_TIME: Final = 10
"""Documents in memory at a time. Each may have megabytes."""
SHOWN_CHARACTERS: Final = 300


class SearchHit(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    """A message that was found: its text or the beginning of it, its length in characters, and its score.

    The ``score`` is that of :mod:`mimic.corpus.similar.measure`; 1 means equal when normalized. ``position`` is the
    position in the conversation, ``document`` the position of the message's document in the corpus; both count from 0.
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
    index = await corpus.index(version)
    roles = (role,) if role else get_args(Role)
    searched = [one for one in roles if one in index.searched]
    places, measures = await asyncio.to_thread(_candidates, index, searched, text)
    hits: dict[tuple[str, str], SearchHit] = {}
    async for place, document in _documents(corpus, version, places):
        if hit := _hit(version, place, document, measures):
            hits.setdefault((hit.sender, hit.value), hit)
    return sorted(hits.values(), key=lambda hit: -hit.score)[:most]


def _candidates(index: MatchIndex, roles: Sequence[str], text: str) -> tuple[list[Coordinates], Mapping[str, Measure]]:
    """The places that the index finds role by role, and a measure for each role.

    If the index finds nothing, the places that it finds despite spelling mistakes.
    """
    queries = [Message(role, text) for role in roles]
    found = [place for message in queries for place in index.similar(message, CANDIDATES)]
    found = found or [place for message in queries for place in index.misspelt(message, CANDIDATES)]
    return found, {role: Measure(text, partial(index.weigh, role)) for role in roles if found}


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


def _hit(version: Version, place: Coordinates, document: Document, measures: Mapping[str, Measure]) -> SearchHit | None:
    located = SCHEMAS[version].message_at(document, place)
    measure = measures.get(role_of(located.message.sender)) if located else None
    if located is None or measure is None:
        return None
    message = located.message
    return SearchHit(
        sender=message.sender,
        value=message.value[:SHOWN_CHARACTERS],
        characters=len(message.value),
        score=round(measure.score(message.value), 3),
        document=document[POSITION],
        conversation=conversation_of(document),
        position=place.index,
    )
