"""Index of messages by their words: a folder of tantivy's files, made by a seeding and searched by servers.

It holds every message that something followed, in corpus order: its normalized text as a digest, and its terms in a
field for each role. Short messages are often alike, so the index also has the parts of their terms, and the terms of
the message before.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from os import strerror
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import tantivy
from tantivy import Document, Index, Occur, Order, Query, SchemaBuilder

from mimic.corpus.calls import canonical
from mimic.corpus.conversation import CALL, RESULT, Conversation, Coordinates, Message, former_role_of, role_of
from mimic.corpus.schemas import digest
from mimic.corpus.similar.measure import LONGEST_KNOWN, weight
from mimic.corpus.similar.similarity import normalized, parts, terms
from mimic.corpus.stores.tempdirs import NO_SPACE
from mimic.errors import StoreFull, StoreUnavailable, UnusableStore

if TYPE_CHECKING:
    from mimic.corpus.similar.vectors import VectorIndex

MAX_TERMS: Final = 24
MAX_TERMS_BEFORE: Final = 12
"""Number of terms of a message, and of the message before it, that are searched: the rarest ones."""
MAX_COUNTED: Final = 256
"""Number of terms whose frequencies are looked up; of more, some from everywhere in the text."""
SHORT: Final = 8
"""Number of terms up to which a message is short."""
MOST_WEIGHTS: Final = 50_000
"""Words of a role whose weights are remembered."""
WRITER_BYTES: Final = 15_000_000
"""Memory that is filled before it is written to the disk."""

LONG_SHARE: Final = 0.3
"""Share of an excerpt that is indexed of assistants' messages and of results: long, and rarely the end of a chat."""
LONG: Final = frozenset({"assistant", RESULT})

SPOKEN: Final = ("user", "assistant", "system")
"""Roles that match by similarity. Tool calls and results only match if they are equal."""
SEARCHED: Final = (*SPOKEN, CALL, RESULT)
"""Roles with a search by similarity, each with a field of the index."""

_NORMAL: Final = "normal"
_BEFORE: Final = "before"


@contextmanager
def _reading() -> Iterator[None]:
    """Translate the errors that tantivy raises for a damaged index."""
    try:
        yield
    except BaseException as exc:
        # A panic of Rust is no Exception, and its class cannot be imported.
        if isinstance(exc, ValueError | OSError) or type(exc).__module__ == "pyo3_runtime":
            problem = "the index of the corpus is damaged, or of another version of Mimic: seed again"
            raise UnusableStore(f"{problem} ({exc})", public=problem) from exc
        raise


class IndexWriter:
    """Makes an index in an empty folder; without ``nearest``, an index that only finds equal messages.

    Methods block. The folder is complete after :meth:`finish`. ``messages`` counts the messages that were added. Every
    method raises StoreFull where no space is left. A context manager: after it nothing writes to the folder.
    """

    def __init__(self, folder: Path, *, nearest: bool = True) -> None:
        self.messages = 0
        self._nearest = nearest
        with _writing():
            self._index_writer = Index(_schema(), str(folder)).writer(WRITER_BYTES, num_threads=1)
        self._next = Coordinates(0, 0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._index_writer  # ends its threads, and waits for them

    def add(self, conversation: Conversation) -> None:
        """Add the next conversation of the corpus."""
        start, previous = self._next, None
        for index, (message, _) in enumerate(pairwise(conversation.messages)):
            place = Coordinates(start.message + index, start.conversation, index)
            with _writing():
                self._index_writer.add_document(self._document(message, previous, place))
            self.messages += 1
            previous = message
        self._next = Coordinates(start.message + len(conversation.messages), start.conversation + 1, 0)

    def finish(self) -> None:
        """Write the messages that are still in memory."""
        with _writing():
            self._index_writer.commit()
            self._index_writer.wait_merging_threads()

    def _document(self, message: Message, previous: Message | None, place: Coordinates) -> Document:
        document = Document()
        for coordinate in Coordinates.__struct_fields__:
            document.add_unsigned(coordinate, getattr(place, coordinate))
        key = normal_digest(message)
        if key is not None:
            document.add_integer(_NORMAL, key)
        if self._nearest and (role := role_of(message.sender)) in SEARCHED:
            found = _terms(message)
            if len(found) <= SHORT:
                found += parts(found)
                if role in SPOKEN:
                    document.add_text(_BEFORE, " ".join(set(_terms(previous))) if previous else "")
            document.add_text(role, " ".join(set(found)))
        return document


class MatchIndex:
    """An open index that several threads may search at once. Its folder may be removed.

    Every method raises UnusableStore where the index is damaged.
    """

    def __init__(self, folder: Path, *, messages: int | None = None, max_terms: int = MAX_TERMS) -> None:
        """Raises UnusableStore where the folder has no index, or none that this version of tantivy reads.

        Also where it does not hold as many ``messages`` as were seeded: it belongs to another corpus.
        """
        self.vectors: VectorIndex | None = None
        """The vectors of the folder, if the owner opened them."""
        self._damage: UnusableStore | None = None
        with _reading():
            index = Index.open(str(folder))
            index.config_reader("Manual")
            self._searcher = index.searcher()
            self._schema = index.schema
            Query.term_query(self._schema, _NORMAL, 0)  # raises for another program's index, which lacks the field
        if messages not in (None, self._searcher.num_docs):
            text = (
                f"the index of the corpus holds {self._searcher.num_docs} messages instead of {messages}: restore the "
                "one that was seeded, or seed again"
            )
            raise UnusableStore(text, public=text)
        self._max_terms = max_terms
        self.searched: Final = tuple(role for role in SEARCHED if _has_field(self._schema, role))
        """Roles with a search by similarity. An index of Mimic 0.1 has none for tool calls and results."""
        self._weights: dict[str, dict[str, float]] = {role: {} for role in self.searched}

    def check(self) -> None:
        """Raises the damage that a search found before."""
        if self._damage:
            raise UnusableStore.caused_by(self._damage)

    @contextmanager
    def _searching(self) -> Iterator[None]:
        try:
            with _reading():
                yield
        except UnusableStore as exc:
            self._damage = exc.with_traceback(None)
            raise

    def equal(self, message: Message, previous: Message | None, most: int) -> list[Coordinates]:
        """Return messages that are equal when normalized, in corpus order.

        With ``previous``, return only messages after a similar message where there are any, the most similar first.
        """
        key = normal_digest(message)
        if key is None:
            return []
        with self._searching():
            found = self._equal(key, previous, most)
            if found or former_role_of(message.sender) == role_of(message.sender):
                return found
            former = normal_digest(message, former=True)
            return [] if former is None else self._equal(former, previous, most)

    def _equal(self, key: int, previous: Message | None, most: int) -> list[Coordinates]:
        same = Query.term_query(self._schema, _NORMAL, key)
        before = self._rarest(_BEFORE, _terms(previous), MAX_TERMS_BEFORE) if previous else []
        if before:
            both = Query.boolean_query([(Occur.Must, same), (Occur.Must, self._any_of(_BEFORE, before))])
            if found := self._places(both, most):
                return found
        hits = self._searcher.search(same, most, count=False, order_by_field="message", order=Order.Asc).hits
        return self._at([address for _, address in hits])

    def similar(self, message: Message, most: int) -> list[Coordinates]:
        """Return messages of the same role that share the rarest terms (by BM25), the most similar first."""
        with self._searching():
            return self._nearest(message, _terms(message), most)

    def misspelt(self, message: Message, most: int) -> list[Coordinates]:
        """Return short messages of the same role that share parts of terms with a short message."""
        found = _terms(message)
        if len(found) > SHORT:
            return []
        with self._searching():
            return self._nearest(message, parts(found), most)

    def weigh(self, role: str, words: Iterable[str]) -> Mapping[str, float]:
        """The weight of each word among the messages of a role that has an index: its information in nats."""
        known = self._weights[role]
        with self._searching():
            return {word: known.get(word) or self._weight(role, word) for word in words}

    def _weight(self, role: str, word: str) -> float:
        found = weight(word, self._searcher.doc_freq(role, word), self._searcher.num_docs)
        if len(word) <= LONGEST_KNOWN:
            known = self._weights[role]
            if len(known) >= MOST_WEIGHTS:
                known.clear()
            known[word] = found
        return found

    def _nearest(self, message: Message, found: Sequence[str], most: int) -> list[Coordinates]:
        role = role_of(message.sender)
        wanted = self._rarest(role, found, self._max_terms) if role in self.searched else []
        return self._places(self._any_of(role, wanted), most) if wanted else []

    def _rarest(self, field: str, found: Sequence[str], most: int) -> list[str]:
        """Return the terms that the field has, the rarest first: the others say little, and cost much."""
        terms_once = list(dict.fromkeys(found))
        some = terms_once[:: len(terms_once) // MAX_COUNTED + 1]
        known = [(count, term) for term in some if (count := self._searcher.doc_freq(field, term))]
        return [term for _, term in sorted(known)[:most]]

    def _any_of(self, field: str, wanted: Sequence[str]) -> Query:
        return Query.boolean_query([(Occur.Should, Query.term_query(self._schema, field, term)) for term in wanted])

    def _places(self, query: Query, most: int) -> list[Coordinates]:
        """Return the places with the highest scores; equal scores are in corpus order."""
        hits = self._searcher.search(query, most, count=False).hits
        places = self._at([address for _, address in hits])
        order = sorted(range(len(hits)), key=lambda number: (-hits[number][0], places[number]))
        return [places[number] for number in order]

    def _at(self, addresses: list[tantivy.DocAddress]) -> list[Coordinates]:
        columns = [self._searcher.fast_field_values(name, addresses) for name in Coordinates.__struct_fields__]
        return [Coordinates(*coordinates) for coordinates in zip(*columns, strict=True)]


@contextmanager
def _writing() -> Iterator[None]:
    """Translate tantivy's errors, which are always ValueError."""
    try:
        yield
    except (ValueError, OSError) as exc:
        if any(strerror(number) in str(exc) for number in NO_SPACE):
            raise StoreFull(f"no space left for the index: {exc}") from exc
        raise StoreUnavailable(f"the index cannot be written (no space left?): {exc}") from exc


def normal_digest(message: Message, *, former: bool = False) -> int | None:
    """The common key of all messages that are equal when normalized; None for a message that is too long.

    With ``former``, as in an index that Mimic 0.1 made.
    """
    message = canonical(message)
    text = normalized(message.value)
    return None if text is None else digest(Message(message.sender, text), former=former)


def _terms(message: Message) -> list[str]:
    return terms(message.value, LONG_SHARE if role_of(message.sender) in LONG else 1.0)


def _has_field(schema: tantivy.Schema, name: str) -> bool:
    try:
        Query.term_query(schema, name, "")
    except ValueError:
        return False
    return True


def _schema() -> tantivy.Schema:
    builder = SchemaBuilder()
    for coordinate in Coordinates.__struct_fields__:
        builder.add_unsigned_field(coordinate, fast=True)
    builder.add_integer_field(_NORMAL, indexed=True)
    builder.add_text_field(_BEFORE, tokenizer_name="whitespace", index_option="basic")
    for role in SEARCHED:
        builder.add_text_field(role, tokenizer_name="whitespace", index_option="basic")
    return builder.build()
