# ruff: noqa: RUF001 - people write these characters
"""Finds phrases in a text for the fields of an application: numbers, addresses, dates, quotations, names, lists."""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

MAX_CHARACTERS: Final = 20_000
"""Characters of a text to search."""

NUMBER: Final = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]|\.\d)")
EMAIL: Final = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
URL: Final = re.compile(r"https?://[^\s<>\"')\]]{1,2000}(?<![.,;:!?])")
QUOTED: Final = re.compile(
    r"\"([^\"\n]{1,500})\"|“([^”\n]{1,500})”|«([^»\n]{1,500})»|`([^`\n]{1,500})`|(?<!\w)'([^'\n]{1,500})'(?!\w)"
)
ISO_DATE: Final = re.compile(r"\b\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:\d{2})?)?")
WRITTEN_DATE: Final = re.compile(
    r"\b(?:(?P<day>\d{1,2})(?:st|nd|rd|th)? (?:of )?(?P<month>[A-Z][a-z]{2,8})"
    r"|(?P<month2>[A-Z][a-z]{2,8}) (?P<day2>\d{1,2})(?:st|nd|rd|th)?),? (?P<year>\d{4})\b"
)
TIME: Final = re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?\b")
NAMED: Final = re.compile(r"[A-Z][\w'’.-]*(?:(?:,? | (?:of|de|da|del|van|von|la|le|and the|the) )[A-Z][\w'’.-]*)*")
AFTER: Final = re.compile(r"\b(in|for|to|at|from|of|about|near|on|into|called|named|with|by)\s+", re.IGNORECASE)
SHORTEST: Final = 3
"""Letters of a word without an ending."""
MAX_DIGITS: Final = 16
"""Characters of a number; a longer one is a name, and JSON may not represent it."""
DAY: Final = 10
"""Length of an ISO 8601 date."""
LONG_TITLE: Final = 12
"""Words of the longest title."""
LIST_ITEM: Final = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+(.+)$", re.MULTILINE)
LIST_MARK: Final = re.compile(r"^\s*\d{1,3}[.)]\s", re.MULTILINE)
_OPERAND: Final = r"\({0,9}-?\d[\d.]{0,40}\){0,9}"
EXPRESSION: Final = re.compile(rf"{_OPERAND}(?:\s{{0,3}}(?:\*\*|[-+*/×÷^%])\s{{0,3}}{_OPERAND})+")
CLAUSE_END: Final = re.compile(r"[.?!;:](?:\s|$)|\n")
LINK: Final = re.compile(r", (?:and |or )?| and | or ")
NAMED_AT_END: Final = re.compile(r"[A-Z][\w'’-]*(?: [A-Z][\w'’-]*){0,4}$")
MAX_WORDS: Final = 5
MAX_ITEM: Final = 60
"""Words and characters of an item of a list."""
SENTENCE: Final = re.compile(r"(?<=[.!?。！？])[\"'”)]*\s+|\n{1,}|(?<=[。！？])")

NOT_NAMES: Final = frozenset(
    [
        "i",
        "i'm",
        "i'd",
        "i'll",
        "the",
        "a",
        "an",
        "what",
        "what's",
        "who",
        "where",
        "when",
        "why",
        "how",
        "which",
        "is",
        "are",
        "was",
        "can",
        "could",
        "would",
        "will",
        "do",
        "does",
        "did",
        "please",
        "tell",
        "show",
        "give",
        "get",
        "find",
        "search",
        "look",
        "list",
        "create",
        "make",
        "write",
        "add",
        "set",
        "my",
        "me",
        "you",
        "your",
        "it",
        "and",
        "or",
        "but",
        "if",
        "hi",
        "hello",
        "hey",
        "thanks",
        "ok",
        "yes",
        "no",
        "use",
        "using",
        "call",
        "book",
        "send",
        "calculate",
        "compute",
        "multiply",
        "divide",
        "convert",
        "translate",
        "summarize",
        "explain",
        "extract",
        "remind",
        "json",
        "api",
    ]
)
"""Words that are no names, although they have a capital at the beginning of a sentence."""


@lru_cache(maxsize=64)
def numbers(text: str) -> Sequence[int | float]:
    """Numbers in their order, without those of dates and times."""
    text = _without(text[:MAX_CHARACTERS], ISO_DATE, WRITTEN_DATE, TIME, URL, LIST_MARK)
    found = [match.group().replace(",", "") for match in NUMBER.finditer(text)]
    return [_number(digits) for digits in found if len(digits) < MAX_DIGITS]


def numbers_beside(text: str, words: frozenset[str]) -> Sequence[int | float]:
    """Numbers next to one of the words, as in "4 minutes" or "size: 12"."""
    found = []
    lowered = text[:MAX_CHARACTERS].lower()
    for word in sorted(word for word in words if len(word) >= SHORTEST)[:MAX_WORDS]:
        stem = re.escape(word[:-1] if word.endswith("s") and len(word) > SHORTEST else word)
        pattern = (
            rf"(?<![\w.])([-+]?\d+(?:\.\d+)?)(?:[ -]\w+)? {stem}|\b{stem}\w*(?: is| of| to|:|=)? ?([-+]?\d+(?:\.\d+)?)"
        )
        found += [
            (match.start(), match[1] or match[2])
            for match in re.finditer(pattern, lowered)
            if len(match.group()) < MAX_DIGITS
        ]
    return [_number(digits) for _, digits in sorted(found)]


def emails(text: str) -> Sequence[str]:
    """E-mail addresses."""
    return list(dict.fromkeys(found.group().rstrip(".") for found in EMAIL.finditer(text[:MAX_CHARACTERS])))


def urls(text: str) -> Sequence[str]:
    """Web addresses."""
    return list(dict.fromkeys(found.group() for found in URL.finditer(text[:MAX_CHARACTERS])))


def expressions(text: str) -> Sequence[str]:
    """Arithmetic expressions, for example ``3 * (4 + 5)``."""
    return [found.group().strip() for found in EXPRESSION.finditer(_without(text[:MAX_CHARACTERS], ISO_DATE, URL))]


def quotations(text: str) -> Sequence[str]:
    """Texts in quotation marks or back quotes."""
    return [
        next(group for group in found.groups() if group is not None) for found in QUOTED.finditer(text[:MAX_CHARACTERS])
    ]


def dates(text: str) -> Sequence[str]:
    """Dates, in ISO 8601 form."""
    found = [(match.start(), match.group()[:DAY]) for match in ISO_DATE.finditer(text[:MAX_CHARACTERS])]
    for match in WRITTEN_DATE.finditer(text[:MAX_CHARACTERS]):
        written = f"{match['day'] or match['day2']} {(match['month'] or match['month2'])[:3]} {match['year']}"
        try:
            found.append((match.start(), datetime.strptime(written, "%d %b %Y").date().isoformat()))  # noqa: DTZ007 a day, no instant
        except ValueError:
            continue
    return [date for _, date in sorted(found)]


def moments(text: str) -> Sequence[str]:
    """Dates with a time, in RFC 3339 form."""
    found = [match.group() for match in ISO_DATE.finditer(text[:MAX_CHARACTERS])]
    whole = [moment.replace(" ", "T") for moment in found if len(moment) > DAY]
    days, hours = dates(text), times(text)
    return [*map(_complete, whole), *[f"{day}T{hours[0] if hours else '00:00:00Z'}" for day in days]]


def times(text: str) -> Sequence[str]:
    """Times of the day, in RFC 3339 form."""
    return [
        f"{int(hour):02}:{minute}:{second or '00'}Z" for hour, minute, second in TIME.findall(text[:MAX_CHARACTERS])
    ]


def names(text: str) -> Sequence[str]:
    """Names: words with a capital letter and the words that connect them, for example "San Francisco, CA".

    Single words at the beginning of a sentence come last: they may be no names.
    """
    found: list[str] = []
    doubtful: list[str] = []
    text = text[:MAX_CHARACTERS]
    for match in NAMED.finditer(text):
        words = match.group().split(" ")
        is_first = text[max(0, match.start() - 3) : match.start()].rstrip(" ")[-1:] in ("", ".", "!", "?", ":", "\n")
        while words and words[0].rstrip(",.").lower() in NOT_NAMES:
            words.pop(0)
            is_first = False
        name = " ".join(words).rstrip(".,'’-")
        if name and name[0].isupper() and text[match.end() : match.end() + 1] != ":":
            (doubtful if is_first and " " not in name else found).append(name)
    return list(dict.fromkeys(found + doubtful))


def words_after(text: str, word: str) -> Sequence[str]:
    """The names after a preposition; without a name, the words up to the end of the clause."""
    found = []
    for match in AFTER.finditer(text[:MAX_CHARACTERS]):
        if match[1].lower() != word:
            continue
        rest = text[match.end() : match.end() + 200]
        name = NAMED.match(rest)
        clause = re.split(
            r"[?!;\n]|[.,](?:\s|$)| (?:and|or|from|to|in|for|on|at|with|by|please|right now|now|today|tomorrow)\b",
            rest,
            maxsplit=1,
        )[0]
        found.append(name.group().rstrip(".,'’-") if name else re.sub(r"^(?:the|a|an|my) ", "", clause.strip()))
    return [phrase for phrase in dict.fromkeys(found) if phrase]


def list_items(text: str) -> Sequence[str]:
    """The items of a list: by bullets or numbers, else from "a, b and c" or "A and B"."""
    text = text[:MAX_CHARACTERS]
    items = [item.strip() for item in LIST_ITEM.findall(text)]
    if len(items) > 1:
        return items
    return next((found for clause in CLAUSE_END.split(text) if (found := _series(clause))), ())


def _series(clause: str) -> Sequence[str]:
    """The items of "a, b and c", or of "A and B" if both are names; empty for other clauses."""
    parts = [part.strip() for part in LINK.split(clause)]
    commas, has_and = clause.count(", "), any(word in clause for word in (" and ", " or "))
    if len(parts) < 2 or not (commas > 1 or has_and):  # noqa: PLR2004 a list has two items
        return ()
    begins = [match.end() for match in AFTER.finditer(parts[0])]
    parts[0] = parts[0][begins[-1] :] if begins else parts[0]
    if not commas:
        first, last = NAMED_AT_END.search(parts[0][-100:]), NAMED.match(parts[1])
        return (first.group(), last.group().rstrip(".,'’-")) if first and last else ()
    parts[-1] = " ".join(parts[-1].split()[:MAX_WORDS])
    return [part for part in parts if part and len(part.split()) <= MAX_WORDS] if len(parts[0]) < MAX_ITEM else ()


def sentences(text: str) -> Sequence[str]:
    """The sentences of a text, without Markdown marks."""
    parts = [part for part in SENTENCE.split(text[:MAX_CHARACTERS]) if part]
    found = [re.sub(r"^[#>*\s-]+|[*_`]{1,3}", "", part).strip() for part in parts]
    return [sentence for sentence in found if any(char.isalnum() for char in sentence)]


def title(text: str) -> str:
    """A title: the first sentence if it is short, else its beginning."""
    found = sentences(text)
    if not found:
        return text.strip()[:60]
    words = found[0].rstrip(".:!?").split()
    return " ".join(words[:8]) if len(words) > LONG_TITLE else " ".join(words)


def _number(written: str) -> int | float:
    return float(written) if "." in written else int(written)


def _complete(moment: str) -> str:
    """The moment with seconds and a zone."""
    day, _, rest = moment.partition("T")
    zone = re.search(r"Z|[+-]\d{2}:\d{2}$", rest)
    clock = rest[: zone.start()] if zone else rest
    return f"{day}T{clock if clock.count(':') > 1 else clock + ':00'}{zone.group() if zone else 'Z'}"


def _without(text: str, *patterns: re.Pattern[str]) -> str:
    for pattern in patterns:
        text = pattern.sub(" ", text)
    return text
