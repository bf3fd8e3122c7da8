"""Values for a structured answer, from the corpus's answer in plain text."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from mimic.engine.instances import phrases
from mimic.engine.instances.chat_values import ChatValues
from mimic.engine.instances.values import Field, JsonValue, Values

TITLES: Final = frozenset(("title", "name", "heading", "headline", "subject", "label", "topic"))
TEXTS: Final = frozenset(("answer", "text", "content", "summary", "response", "message", "body", "reply"))
NO: Final = frozenset(("no", "not", "never", "cannot", "can't", "don't", "isn't", "unable"))


class TextValues(Values):
    """Values from an answer (its title, sentences, lists and numbers) and from the question before it.

    Facts of the question, for example a name, a date or a number, come first.
    """

    def __init__(self, answer: str, question: str = "") -> None:
        self._answer = answer
        self._question = ChatValues([question]) if question else None
        self._asked = question
        self._sentences = phrases.sentences(answer)
        self._numbers = phrases.numbers(answer)
        self._next_sentence = 0
        self._next_number = 0

    def strings(self, field: Field) -> Iterable[str]:
        if field.format:
            yield from self._of_format(field)
            return
        if field.words & TEXTS and field.index is None:
            yield self._answer.strip()
        if field.words & TITLES:
            yield from self._facts(field)
            yield phrases.title(self._answer)
        if field.index is not None:
            yield from (phrases.list_items(self._answer) or phrases.list_items(self._asked))[
                field.index : field.index + 1
            ]
        else:
            yield from self._facts(field)
        if self._next_sentence < len(self._sentences):
            self._next_sentence += 1
            yield self._sentences[self._next_sentence - 1]
        yield from self._sentences
        yield phrases.title(self._answer)

    def numbers(self, field: Field) -> Iterable[int | float]:
        if field.words & TEXTS:
            found = (phrases.numbers(sentence) for sentence in self._sentences)
            yield from next(filter(None, found), ())[-1:]  # "12 + 30 = 42."
        yield from phrases.numbers_beside(self._answer, field.words)
        if self._question is not None:
            yield from self._question.numbers(field)
        if self._next_number < len(self._numbers):
            self._next_number += 1
            yield self._numbers[self._next_number - 1]
        yield from self._numbers

    def booleans(self, field: Field) -> Iterable[bool]:
        begin = self._answer.lower().replace(",", " ").replace(".", " ").split()[:12]
        yield not NO & set(begin)

    def mentions(self, members: Sequence[JsonValue], field: Field) -> Sequence[JsonValue]:
        asked = self._question.mentions(members, field) if self._question is not None else ()
        return [*asked, *ChatValues([self._answer]).mentions(members, field)]

    def length(self, field: Field) -> int | None:
        return (
            min(
                len(phrases.list_items(self._answer) or phrases.list_items(self._asked))
                or min(len(self._sentences), 3),
                8,
            )
            or None
        )

    def knows(self, field: Field) -> bool:
        return True

    def _facts(self, field: Field) -> Iterator[str]:
        """Facts of the question for the field."""
        if self._question is not None:
            yield from self._question.facts(field)

    def _of_format(self, field: Field) -> Iterator[str]:
        for text in (self._asked, self._answer):
            yield from ChatValues([text]).facts(field)
