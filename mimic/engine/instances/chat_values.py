"""Values for the arguments of a tool call, from the messages of the chat."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from mimic.engine.instances import phrases
from mimic.engine.instances.values import Field, JsonValue, Values

PLACES: Final = frozenset(
    (
        "location",
        "city",
        "place",
        "destination",
        "address",
        "country",
        "region",
        "town",
        "where",
        "area",
        "venue",
        "state",
    )
)
ORIGINS: Final = frozenset(("from", "origin", "source", "departure", "start"))
TARGETS: Final = frozenset(("to", "destination", "target", "recipient", "arrival", "end"))
WHOLE: Final = frozenset(
    (
        "query",
        "q",
        "question",
        "text",
        "input",
        "prompt",
        "message",
        "content",
        "request",
        "task",
        "search",
        "keyword",
        "keywords",
        "topic",
        "instructions",
        "body",
    )
)
SUMS: Final = frozenset(("expression", "formula", "equation", "calculation", "math"))
DAYS: Final = frozenset(("date", "day", "on", "birthday", "deadline", "since", "until"))
NEGATIONS: Final = frozenset(("no", "not", "without", "don't", "never", "disable", "exclude", "off"))
SWITCHES: Final = frozenset(("on", "enabled", "enable", "state", "power", "active"))
KINDS: Final[Sequence[tuple[frozenset[str], frozenset[str], Callable[[str], Sequence[str]]]]] = (
    (frozenset(("email", "idn-email")), frozenset(("email", "mail", "recipient")), phrases.emails),
    (frozenset(("uri", "iri", "uri-reference")), frozenset(("url", "uri", "link", "website")), phrases.urls),
    (frozenset(("date-time",)), frozenset(), phrases.moments),
    (frozenset(("time",)), frozenset(("time", "hour")), phrases.times),
    (frozenset(("date",)), DAYS, phrases.dates),
    (frozenset(), SUMS, phrases.expressions),
)
"""Formats, words of names, and the function that finds values for them."""
SHORTEST_WORD: Final = 3
"""Letters of a field name to look for in a text."""
SOUGHT: Final = frozenset(("query", "topic", "keyword", "keywords", "search", "q"))
ANSWERS: Final = frozenset(("answer", "response", "result", "summary", "output", "reply"))
"""Words in the names of fields that take tool results."""
ASKED_FOR: Final = ("for", "about", "of")


class ChatValues(Values):
    """Values from user messages, the newest first, and then from tool results.

    Each value goes to one field only. ``skip`` is the number of subjects to leave out: several calls of one tool each
    have their own subject.
    """

    def __init__(self, texts: Sequence[str], skip: int = 0, results: Sequence[str] = ()) -> None:
        self._texts = [text for text in (*texts, *results) if text]
        self._results = results
        self._text = self._texts[0] if self._texts else ""
        self._skip = skip
        self._taken: dict[object, Field] = {}

    def strings(self, field: Field) -> Iterable[str]:
        """Candidates that no other field has taken: likely values of all texts, then the others."""
        if field.words & ANSWERS:
            yield from self._results
        for find in (self._likely, self._other):
            for text in self._texts:
                for value in find(field, text):
                    if value and self._is_free(value, field):
                        yield self._take(value, field)

    def numbers(self, field: Field) -> Iterable[int | float]:
        for text in self._texts:
            yield from phrases.numbers_beside(text, field.words)
        for text in self._texts:
            for position, number in enumerate(phrases.numbers(text)):
                if self._is_free((position, text), field):
                    self._taken[(position, text)] = field
                    yield number

    def booleans(self, field: Field) -> Iterable[bool]:
        words = self._text.lower().split()
        for index, word in enumerate(words):
            if word.strip(".,?!") in field.words:
                yield not NEGATIONS & set(words[max(0, index - 3) : index])
                return
        if field.words & SWITCHES and {"on", "off", "enable", "disable"} & set(words):
            yield not {"off", "disable"} & set(words)

    def mentions(self, members: Sequence[JsonValue], field: Field) -> Sequence[JsonValue]:
        for text in self._texts:
            found = [(at, member) for member in members if (at := _position(str(member), text)) >= 0]
            if found:
                return [member for _, member in sorted(found, key=lambda pair: pair[0])]
        return ()

    def length(self, field: Field) -> int | None:
        return len(phrases.list_items(self._text)) or len(phrases.quotations(self._text)) or None

    def knows(self, field: Field) -> bool:
        """True if the chat mentions an optional field: its name, a member, or a value of its format."""
        text = self._text.lower()
        if any(len(word) >= SHORTEST_WORD and word in text for word in field.words) or self.mentions(
            field.members, field
        ):
            return True
        return next(iter(self._special(field, self._text)), None) is not None

    def facts(self, field: Field) -> Iterator[str]:
        """Texts that certainly belong to the field, by its format, its name, or a label before them."""
        for text in self._texts:
            for value in (*self._special(field, text), *self._after_label(field, text)):
                if value and self._is_free(value, field):
                    yield self._take(value, field)
            if field.words & {"name", "person", "customer", "author"} and not field.format:
                yield from (self._take(name, field) for name in phrases.names(text) if self._is_free(name, field))

    def _likely(self, field: Field, text: str) -> Iterator[str]:
        """Texts that certainly or probably belong to the field."""
        if field.index is not None:
            items = phrases.list_items(text) or phrases.quotations(text)
            yield from items[field.index : field.index + 1]
        yield from self._special(field, text)
        yield from self._after_label(field, text)
        if field.format:
            return
        yield from phrases.quotations(text)[self._skip :]
        if field.words & WHOLE:
            if field.words & SOUGHT:
                for word in ASKED_FOR:
                    yield from phrases.words_after(text, word)
            yield text.strip()
        yield from phrases.names(text)[self._skip :]

    def _other(self, field: Field, text: str) -> Iterator[str]:
        """Texts that may belong to the field, if nothing better is found."""
        if field.format:
            return
        for word in ("for", "in", "to", "about", "of", "at"):
            yield from phrases.words_after(text, word)
        yield text.strip()

    def _special(self, field: Field, text: str) -> Iterator[str]:
        """Values of a kind that the field's name or format implies."""
        for formats, words, find in KINDS:
            if field.format in formats or (field.words & words and not field.format):
                yield from find(text)
        if field.words & ORIGINS:
            yield from phrases.words_after(text, "from")
        if field.words & TARGETS:
            yield from phrases.words_after(text, "to")
        if field.words & PLACES:
            yield from self._places(field, text)

    def _places(self, field: Field, text: str) -> Iterator[str]:
        items = [item for item in phrases.list_items(text) if item[:1].isupper()]
        if len(items) > 1 and not field.words & (ORIGINS | TARGETS):
            yield from items[self._skip :]
        places = [
            place for word in ("in", "for", "to", "at", "near", "of") for place in phrases.words_after(text, word)
        ]
        yield from (place for place in places if place[:1].isupper())
        yield from (place for place in places if place[:1].islower())

    def _after_label(self, field: Field, text: str) -> Iterator[str]:
        """The value after the field's name, for example in "title: Dune" or "the title is Dune"."""
        words = " ".join(sorted(field.words, key=field.name.lower().find))
        lowered = text.lower()
        for label in dict.fromkeys((field.name.lower(), words)):
            at = lowered.find(label) if len(label) >= SHORTEST_WORD else -1
            rest = text[at + len(label) : at + len(label) + 200] if at >= 0 else ""
            for mark in (":", " is ", "=", " called ", " named ", " of "):
                if rest.lower().startswith(mark):
                    value = rest[len(mark) :].split("\n")[0]
                    yield (phrases.quotations(value) or [value.split(",")[0].split(" and ")[0].strip(" .?!\"'")])[0]

    def _is_free(self, value: object, field: Field) -> bool:
        holder = self._taken.get(value)
        return holder is None or holder == field

    def _take(self, value: str, field: Field) -> str:
        if not field.words & WHOLE:
            self._taken[value] = field
        return value


def subjects(text: str) -> int:
    """The number of subjects of a question: two for "Paris and London"."""
    names = [item for item in phrases.list_items(text) if item[:1].isupper()]
    return max(1, len(names))


def _position(member: str, text: str) -> int:
    """The position in a text of a member of an enum, as whole words; -1 if absent."""
    lowered = text.lower()
    for written in dict.fromkeys((member.lower(), member.lower().replace("_", " ").replace("-", " "))):
        start = 0
        while written and (at := lowered.find(written, start)) >= 0:
            before, after = lowered[at - 1 : at], lowered[at + len(written) : at + len(written) + 1]
            if not (before.isalnum() or after.isalnum()):
                return at
            start = at + 1
    return -1
