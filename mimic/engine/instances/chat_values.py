"""Contents of the arguments of a tool call, from what was said in the chat."""

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
"""Formats, words of names, and what finds values for them."""
SHORTEST_WORD: Final = 3
"""Letters of a field's name that is looked for in a text."""
SOUGHT: Final = frozenset(("query", "topic", "keyword", "keywords", "search", "q"))
ANSWERS: Final = frozenset(("answer", "response", "result", "summary", "output", "reply"))
"""Words in names of fields that the results of tools are meant for."""
ASKED_FOR: Final = ("for", "about", "of")


class ChatValues(Values):
    """Values from what users said, the newest first, and then from the results of tools.

    A value that one field has taken is not given to another. ``skip`` leaves out so many of the things that several
    calls of one tool are about.
    """

    def __init__(self, texts: Sequence[str], skip: int = 0, results: Sequence[str] = ()) -> None:
        self._texts = [text for text in (*texts, *results) if text]
        self._results = results
        self._text = self._texts[0] if self._texts else ""
        self._skip = skip
        self._taken: dict[object, Field] = {}

    def strings(self, field: Field) -> Iterable[str]:
        """The candidates, of which each may be given to one field only: what is likely in any text, then the rest."""
        if field.words & ANSWERS:
            yield from self._results
        for find in (self._likely, self._other):
            for text in self._texts:
                for one in find(field, text):
                    if one and self._is_free(one, field):
                        yield self._give(one, field)

    def numbers(self, field: Field) -> Iterable[int | float]:
        for text in self._texts:
            yield from phrases.numbers_beside(text, field.words)
        for text in self._texts:
            for position, one in enumerate(phrases.numbers(text)):
                if self._is_free((position, text), field):
                    self._taken[(position, text)] = field
                    yield one

    def booleans(self, field: Field) -> Iterable[bool]:
        words = self._text.lower().split()
        for index, word in enumerate(words):
            if word.strip(".,?!") in field.words:
                yield not NEGATIONS & set(words[max(0, index - 3) : index])
                return
        if field.words & SWITCHES and {"on", "off", "enable", "disable"} & set(words):
            yield not {"off", "disable"} & set(words)

    def mentioned(self, members: Sequence[JsonValue], field: Field) -> Sequence[JsonValue]:
        for text in self._texts:
            found = [(at, one) for one in members if (at := _position(str(one), text)) >= 0]
            if found:
                return [one for _, one in sorted(found, key=lambda pair: pair[0])]
        return ()

    def length(self, field: Field) -> int | None:
        return len(phrases.listed(self._text)) or len(phrases.quoted(self._text)) or None

    def knows(self, field: Field) -> bool:
        """Whether the chat says something of an optional field: names it, a member of it, or has what it is made of."""
        text = self._text.lower()
        if any(len(word) >= SHORTEST_WORD and word in text for word in field.words) or self.mentioned(
            field.members, field
        ):
            return True
        return next(iter(self._special(field, self._text)), None) is not None

    def facts(self, field: Field) -> Iterator[str]:
        """Texts that are surely meant for the field: by its format, its name, or a label before them."""
        for text in self._texts:
            for one in (*self._special(field, text), *self._labelled(field, text)):
                if one and self._is_free(one, field):
                    yield self._give(one, field)
            if field.words & {"name", "person", "customer", "author"} and not field.format:
                yield from (one for one in phrases.named(text) if self._is_free(one, field))

    def _likely(self, field: Field, text: str) -> Iterator[str]:
        """What is surely or probably meant for the field."""
        if field.index is not None:
            items = phrases.listed(text) or phrases.quoted(text)
            yield from items[field.index : field.index + 1]
        yield from self._special(field, text)
        yield from self._labelled(field, text)
        if field.format:
            return
        yield from phrases.quoted(text)[self._skip :]
        if field.words & WHOLE:
            if field.words & SOUGHT:
                for word in ASKED_FOR:
                    yield from phrases.following(text, word)
            yield text.strip()
        yield from phrases.named(text)[self._skip :]

    def _other(self, field: Field, text: str) -> Iterator[str]:
        """What may be meant for the field, where nothing better is there."""
        if field.format:
            return
        for word in ("for", "in", "to", "about", "of", "at"):
            yield from phrases.following(text, word)
        yield text.strip()

    def _special(self, field: Field, text: str) -> Iterator[str]:
        """Values of a kind that the field's name or format tells."""
        for formats, words, find in KINDS:
            if field.format in formats or (field.words & words and not field.format):
                yield from find(text)
        if field.words & ORIGINS:
            yield from phrases.following(text, "from")
        if field.words & TARGETS:
            yield from phrases.following(text, "to")
        if field.words & PLACES:
            yield from self._places(field, text)

    def _places(self, field: Field, text: str) -> Iterator[str]:
        listed = [one for one in phrases.listed(text) if one[:1].isupper()]
        if len(listed) > 1 and not field.words & (ORIGINS | TARGETS):
            yield from listed[self._skip :]
        places = [one for word in ("in", "for", "to", "at", "near", "of") for one in phrases.following(text, word)]
        yield from (one for one in places if one[:1].isupper())
        yield from (one for one in places if one[:1].islower())

    def _labelled(self, field: Field, text: str) -> Iterator[str]:
        """What stands behind the field's own name, as in "title: Dune" or "the title is Dune"."""
        words = " ".join(sorted(field.words, key=field.name.lower().find))
        lowered = text.lower()
        for label in dict.fromkeys((field.name.lower(), words)):
            at = lowered.find(label) if len(label) >= SHORTEST_WORD else -1
            rest = text[at + len(label) : at + len(label) + 200] if at >= 0 else ""
            for mark in (":", " is ", "=", " called ", " named ", " of "):
                if rest.lower().startswith(mark):
                    value = rest[len(mark) :].split("\n")[0]
                    yield (phrases.quoted(value) or [value.split(",")[0].split(" and ")[0].strip(" .?!\"'")])[0]

    def _is_free(self, value: object, field: Field) -> bool:
        holder = self._taken.get(value)
        return holder is None or holder == field

    def _give(self, value: str, field: Field) -> str:
        if not field.words & WHOLE:
            self._taken[value] = field
        return value


def subjects(text: str) -> int:
    """How many things a message asks the same about, as "Paris and London" are two."""
    names = [one for one in phrases.listed(text) if one[:1].isupper()]
    return max(1, len(names))


def _position(member: str, text: str) -> int:
    """The place where a member of an enum is mentioned as whole words, or -1."""
    lowered = text.lower()
    for written in dict.fromkeys((member.lower(), member.lower().replace("_", " ").replace("-", " "))):
        start = 0
        while written and (at := lowered.find(written, start)) >= 0:
            before, after = lowered[at - 1 : at], lowered[at + len(written) : at + len(written) + 1]
            if not (before.isalnum() or after.isalnum()):
                return at
            start = at + 1
    return -1
