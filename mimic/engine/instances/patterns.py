"""Short, readable strings that match a regular expression of a schema, generated from its parsed form.

The parser is a private one of the standard library (``re._parser``), which hypothesis uses, too.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from re import _constants, _parser  # type: ignore[attr-defined,unused-ignore] # mypy knows them at times
from typing import Any, Final

MAX_PATTERN: Final = 4_000
"""Characters of a pattern; longer ones get no strings."""
MAX_PARTS: Final = 2_000
"""Parts of a pattern to write for one string, with all repetitions."""
EXTRA_REPEATS: Final = (1, 0, 3, 8, 20, 60)
"""Extra repetitions of a part beyond its minimum, in the order to try them."""

READABLE: Final = (
    "abcdefghijklmnopqrstuvwxyz" + "0123456789" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + " _-.,:;/@#+*=!?'\"()[]{}<>|\\$%&~^`"
)
"""Characters to try for a character class, in this order."""
OTHERS: Final = "éüßñøλжд你好अعא한あ€°§\t\n\r\x00"

ECMA: Final = (
    (re.compile(r"\(\?<(?=[A-Za-z_])"), "(?P<"),
    (re.compile(r"\\k<(\w+)>"), r"(?P=\1)"),
    (re.compile(r"\\p\{(?:L|Letter|Alphabetic)\}"), "[A-Za-z]"),
    (re.compile(r"\\p\{(?:Lu|Uppercase_Letter|Uppercase)\}"), "[A-Z]"),
    (re.compile(r"\\p\{(?:Ll|Lowercase_Letter|Lowercase)\}"), "[a-z]"),
    (re.compile(r"\\p\{(?:N|Nd|Number|Decimal_Number)\}"), "[0-9]"),
    (re.compile(r"\\p\{(?:P|Punctuation)\}"), "[.,!?-]"),
    (re.compile(r"\\u\{([0-9A-Fa-f]{1,4})\}"), lambda found: "\\u" + found[1].rjust(4, "0")),
    (re.compile(r"\\c([A-Za-z])"), lambda found: f"\\x{ord(found[1]) % 32:02x}"),
)
"""Syntax of ECMAScript's regular expressions, and Python's syntax for it."""


@lru_cache(maxsize=1024)
def matching(pattern: str, variant: int = 0) -> Sequence[str]:
    """Strings that may match, the most readable first. With look-arounds in the pattern, some do not match.

    Empty if the pattern is longer than ``MAX_PATTERN`` or does not parse.
    """
    return list(dict.fromkeys(_strings(pattern, variant))) if len(pattern) <= MAX_PATTERN else ()


def _strings(pattern: str, variant: int) -> Iterator[str]:
    for expression, replacement in ECMA:
        pattern = expression.sub(replacement, pattern)
    try:
        parsed = _parser.parse(pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError, ValueError):
        return
    branches = range(4) if "|" in pattern else range(1)
    for extra in EXTRA_REPEATS:
        for branch in branches:
            try:
                yield _Writer(extra, branch, variant).write(parsed)
            except (ValueError, RecursionError):
                continue


class _Writer:
    """Writes one string. Raises ValueError if there is none, or if it becomes too long."""

    def __init__(self, extra: int, branch: int, variant: int) -> None:
        self._extra = extra
        self._branch = branch
        self._picked = variant
        self._parts = 0
        self._groups: dict[int, str] = {}

    def write(self, parsed: Any) -> str:
        return "".join([self._part(op, value) for op, value in parsed])

    def _part(self, op: Any, value: Any) -> str:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ValueError(MAX_PARTS)
        write = self._writers.get(op)
        return write(value) if write else ""  # anchors and look-arounds are checked later

    @cached_property
    def _writers(self) -> Mapping[Any, Callable[[Any], str]]:
        c = _constants
        return {
            c.LITERAL: chr,
            c.NOT_LITERAL: lambda value: self._pick([(c.NEGATE, None), (c.LITERAL, value)]),
            c.ANY: lambda _: self._pick([(c.NEGATE, None), (c.LITERAL, ord("\n"))]),
            c.IN: self._pick,
            c.BRANCH: lambda value: self.write(value[1][self._branch % len(value[1])]),
            c.SUBPATTERN: self._group,
            c.MAX_REPEAT: self._repeat,
            c.MIN_REPEAT: self._repeat,
            c.POSSESSIVE_REPEAT: self._repeat,
            c.GROUPREF: lambda value: self._groups.get(value, ""),
            c.GROUPREF_EXISTS: lambda value: self.write(value[1] if value[0] in self._groups else value[2] or ()),
            c.ATOMIC_GROUP: self.write,
        }

    def _group(self, value: Any) -> str:
        text = self.write(value[3])
        if value[0] is not None:
            self._groups[value[0]] = text
        return text

    def _repeat(self, value: Any) -> str:
        least, most, inner = value
        times = min(least + self._extra, most)
        if times > MAX_PARTS:
            raise ValueError(times)
        return "".join([self.write(inner) for _ in range(times)])

    def _pick(self, members: Sequence[tuple[Any, Any]]) -> str:
        """A character of a class, a different one each time, so that words do not read "aaaa"."""
        allowed = _allowed(tuple(members))
        self._picked += 1
        return allowed[(self._picked * 7 - 7) % len(allowed)]


_CHARACTERS: Final = (_constants.RANGE, _constants.LITERAL)


@lru_cache(maxsize=1024)
def _allowed(members: tuple[tuple[Any, Any], ...]) -> Sequence[str]:
    """Some characters of a class. Raises ValueError if there are none."""
    allowed = [char for char in READABLE if _is_in(char, members)][:26]
    allowed = allowed or [char for char in OTHERS if _is_in(char, members)]
    if not allowed:
        allowed = [
            chr(value[0]) if op is _constants.RANGE else chr(value) for op, value in members if op in _CHARACTERS
        ]
    if not allowed:
        raise ValueError("the character class is empty")
    return allowed


def _is_in(char: str, members: Sequence[tuple[Any, Any]]) -> bool:
    negated = bool(members) and members[0][0] is _constants.NEGATE
    return negated != any(_is_member(char, op, value) for op, value in members)


def _is_member(char: str, op: Any, value: Any) -> bool:
    c = _constants
    if op is c.LITERAL:
        return bool(ord(char) == value)
    if op is c.RANGE:
        return bool(value[0] <= ord(char) <= value[1])
    if op is not c.CATEGORY:
        return False
    name = str(value)
    has = {
        "DIGIT": char.isascii() and char.isdigit(),
        "SPACE": char.isspace(),
        "WORD": char.isascii() and (char.isalnum() or char == "_"),
    }[name.rpartition("_")[2]]
    return bool(has != ("_NOT_" in name))
