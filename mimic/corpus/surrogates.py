"""Escapes of surrogates in JSON text: finds lone ones, and positions where bytes can be cut without splitting a pair.

yajl silently replaces lone surrogates with question marks, and UTF-8, BSON and SQLite cannot hold them.
"""

import re
from collections.abc import Iterator

_ESCAPED_SURROGATE = re.compile(rb"\\u[dD]([89a-fA-F])[0-9a-fA-F]{2}")
_HIGH = b"89abAB"
_UNFINISHED_ESCAPE = re.compile(
    rb"\\(?:u[0-9a-fA-F]{0,3})?\Z"  # \, \u, \uXXX
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z"  # half of a pair, and the start of the second
)
_UNFINISHED_CHARACTER = re.compile(rb"(?:[\xc0-\xff]|[\xe0-\xff][\x80-\xbf]|[\xf0-\xff][\x80-\xbf]{2})\Z")
_LONGEST_ESCAPE = len(rb"\ud83d\ude00")
_LONGEST_CHARACTER = 4


def lone_surrogates(data: bytes) -> Iterator[int]:
    """Yield the positions at which escapes of lone surrogates start."""
    if rb"\ud" not in data and rb"\uD" not in data:
        return
    low_expected_at = -1
    for match in _ESCAPED_SURROGATE.finditer(data):
        start = match.start()
        if start == low_expected_at or _is_escaped(data, start):
            continue
        following = _ESCAPED_SURROGATE.match(data, match.end()) if match[1] in _HIGH else None
        if following and following[1] not in _HIGH:
            low_expected_at = following.start()
        else:
            yield start


def end_of_whole_escapes(data: bytes) -> int:
    """The last position at which a cut splits no escape, no surrogate pair and no UTF-8 character."""
    if unfinished := _UNFINISHED_CHARACTER.search(data, max(0, len(data) - _LONGEST_CHARACTER)):
        return unfinished.start()
    start = max(0, len(data) - _LONGEST_ESCAPE)
    while unfinished := _UNFINISHED_ESCAPE.search(data, start):
        if not _is_escaped(data, unfinished.start()):
            return unfinished.start()
        start = unfinished.start() + 1
    return len(data)


def _is_escaped(data: bytes, backslash: int) -> bool:
    """True if the backslash is itself escaped: an odd number of backslashes precedes it."""
    before = backslash
    while before and data[before - 1] == ord("\\"):
        before -= 1
    return (backslash - before) % 2 == 1
