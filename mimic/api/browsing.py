"""Looking around in the corpus: the conversation that an answer came from."""

from typing import Annotated

from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from mimic.api.errors import documented
from mimic.api.keys import SECURITY_SCHEME, require_key
from mimic.corpus import Corpus
from mimic.excerpts import LARGEST_POSITION, Excerpt, excerpt
from mimic.schemas import Version

Position = Annotated[int, PathParameter(description="As x-mimic-document says.", ge=0, le=LARGEST_POSITION)]
First = Annotated[int, QueryParameter(description="From which message on.", ge=0, le=LARGEST_POSITION)]
Count = Annotated[int, QueryParameter(description="At most so many messages.", ge=1, le=100)]


@get(
    "/{version:str}/conversations/{document:int}",
    summary="A conversation",
    tags=["Conversations"],
    responses=documented(400, 401, 404, 503),
)
async def read_conversation(
    version: Annotated[Version, PathParameter(description="The schema version.")],
    document: Position,
    corpus: NamedDependency[Corpus],
    first: First = 0,
    count: Count = 50,
) -> Excerpt:
    """The conversation that a document is of, a page at a time; of a very long message its first 20,000 characters."""
    return await excerpt(corpus, version, document, first, count)


ROUTES = Router(
    "/corpus", route_handlers=[read_conversation], guards=[require_key], security=[{SECURITY_SCHEME: []}, {}]
)
