"""Routes to browse the corpus: a search, and the conversation of a message."""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from mimic.corpus.corpus import Corpus
from mimic.corpus.excerpts import LARGEST_POSITION, Excerpt, excerpt
from mimic.corpus.schemas import Version
from mimic.corpus.search import Role, SearchHit, search
from mimic.server.error_handlers import error_responses
from mimic.server.guards import SECURITY, require_key
from mimic.server.options import Defaults

Position = Annotated[
    int,
    PathParameter(
        description="The position of the document, from the header x-mimic-document.", ge=0, le=LARGEST_POSITION
    ),
]
First = Annotated[int, QueryParameter(description="The index of the first message, from 0.", ge=0, le=LARGEST_POSITION)]
Count = Annotated[int, QueryParameter(description="The maximum number of messages.", ge=1, le=100)]
Query = Annotated[str, QueryParameter(name="q", description="The text to search for.", min_length=1, max_length=2000)]
Speaker = Annotated[Role | None, QueryParameter(description="The role of the speaker (default: all roles).")]
VersionQuery = Annotated[Version | None, QueryParameter(description="The schema version (default: MIMIC_VERSION).")]
Limit = Annotated[int, QueryParameter(description="The maximum number of messages.", ge=1, le=50)]


class SearchResults(msgspec.Struct, frozen=True):
    """The version and the messages found, the most similar first; empty if no message is similar."""

    version: Version
    results: Sequence[SearchHit]


_TAGS: Final = ["Conversations"]


@get(
    "/corpus/search",
    summary="Search",
    tags=_TAGS,
    responses=error_responses(400, 401, 503),
    guards=[require_key],
    security=SECURITY,
)
async def search_corpus(
    q: Query,
    corpus: NamedDependency[Corpus],
    defaults: NamedDependency[Defaults],
    role: Speaker = None,
    version: VersionQuery = None,
    limit: Limit = 20,
) -> SearchResults:
    """Find messages similar to a text, among messages that have a next message. Needs the index of rung `nearest`."""
    searched = version or defaults.version
    return SearchResults(searched, await search(corpus, searched, q, role, limit))


@get(
    "/corpus/{version:str}/conversations/{document:int}",
    summary="A conversation",
    tags=_TAGS,
    responses=error_responses(400, 401, 404, 503),
    guards=[require_key],
    security=SECURITY,
)
async def read_conversation(
    version: Annotated[Version, PathParameter(description="The schema version.")],
    document: Position,
    corpus: NamedDependency[Corpus],
    first: First = 0,
    count: Count = 50,
) -> Excerpt:
    """Return a page of the conversation of a document. Messages are cut after 20,000 characters."""
    return await excerpt(corpus, version, document, first, count)


ROUTES: Final = (search_corpus, read_conversation)
