"""Reads conversations from the bytes of JSON. Pure: bytes go in, conversations come out.

The text is a JSON array of elements, or a sequence of elements (JSON Lines). An element is a conversation in any format
of :mod:`mimic_seed.formats`, such as ShareGPT's ``{"id", "conversations": [{"from", "value"}, ...]}``. ijson parses the
JSON. This module builds conversations from its events, and finds the byte of an error. It keeps only the data of
conversations, so the largest one limits the memory.

Data that no store accepts do not take memory either. The rest of a string beyond 16 MiB is checked, but not parsed. A
number that is too long and brackets that are nested too deeply are errors.
"""

import re
from bisect import bisect_left
from collections import Counter
from typing import Any, Protocol

import ijson
import msgspec

from mimic.corpus.conversation import Conversation
from mimic.corpus.manifest import Skipped
from mimic.corpus.sizes import LARGEST_DOCUMENT
from mimic.corpus.surrogates import end_of_whole_escapes, lone_surrogates
from mimic.errors import BrokenDump, ForeignFile
from mimic_seed.conversation_builder import ConversationBuilder, TooDeep
from mimic_seed.file_kinds import BEGINNING, kind_of
from mimic_seed.formats import is_lone_message
from mimic_seed.string_tracker import StringTracker, end_of_string

SLOW_BACKEND = ijson.backend != "yajl2_c"
"""True if ijson's C backend is missing. Reading then takes about three times as long."""

LONGEST_REPLAY = 32 * 1024 * 1024
"""Bytes to keep in order to find the byte of an error."""

PIECE = 256 * 1024
"""Bytes to parse at a time."""

LONGEST_NUMBER = PIECE
"""Bytes of a number, which the parser keeps until its end."""

LONGEST_FIRST_LINE = PIECE
"""Bytes of a first line to read in order to distinguish one list of messages from JSON Lines of lists."""
LONGEST_KEY = 64
"""Bytes to read in order to recognise a list of messages."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

CUT_OFF = "the input ends here, in the middle of the JSON text (truncated file?)"

# Messages of yajl that do not say what it expected (yajl_parser.c and yajl_lex.c, version 2.1).
EXPECTATIONS = {
    "premature EOF": CUT_OFF,
    "trailing garbage": "expected the end of the input after the array",
    "unallowed token at this point in JSON text": "expected a JSON value",
    "invalid bytes in UTF8 string.": "expected UTF-8",
    "invalid char in json text.": "expected a JSON value",
}


NO_JSON = re.compile(r"-?(?:nan|inf(?:inity)?)|None|True|False|undefined", re.IGNORECASE)
"""Values that programs write, but JSON does not have."""

LONGEST_WORD = 16
"""Bytes of a word to read before and after the byte of an error."""

MOST_SOUGHT = 256
"""Line ends of a piece to search one by one."""

_LIST = re.compile(rb'\[\s*\{\s*"(?:role|from|content|value|name|tool_calls)"')
"""The beginning of a list of messages."""
_WORD_BEFORE = re.compile(rb"[-\w]*\Z")
_WORD_BEHIND = re.compile(rb"\w*")


def _is_line_of_messages(text: bytes) -> bool:
    """True if a text begins with a line that is a whole list of messages, so that each line is a conversation."""
    line, _, _ = text.partition(b"\n")
    if not _LIST.match(line) or not line.rstrip().endswith(b"]"):
        return False
    try:
        return all(map(is_lone_message, msgspec.json.decode(line, type=list[Any])))
    except (ValueError, RecursionError):
        return False


class _Parser(Protocol):
    """ijson's push parsers: bytes in by ``send``, events out into a list."""

    def send(self, data: bytes, /) -> None: ...
    def close(self) -> None: ...


class DumpReader:
    """A push parser for dumps.

    :meth:`feed` takes bytes, cut at any position. It returns, in order, the conversations that they complete, and
    records of skipped, broken ones. :meth:`close` marks the end of the bytes. Both raise BrokenDump.
    """

    def __init__(self) -> None:
        self._offset = 0
        self._lines: bool | None = None
        self._line_ends = 0
        self._buffer = bytearray()
        self._last_bytes = b""
        self._failure: _Failure | None = None
        self._builder = ConversationBuilder(depth=0)
        self._replay = _Replay(0, primer=b"", lines=False)
        self._string = StringTracker()
        self._not_utf8: UnicodeDecodeError | None = None

    @property
    def unusable_ids(self) -> int:
        """The number of conversations so far that were kept without their ids."""
        return self._builder.unusable_ids

    @property
    def left_out(self) -> Counter[str]:
        """Counts of data so far that the corpus does not keep, by name."""
        return self._builder.left_out

    def feed(self, data: bytes) -> list[Conversation | Skipped]:
        return [item for start in range(0, len(data), PIECE) for item in self._feed(data[start : start + PIECE])]

    def _feed(self, data: bytes) -> list[Conversation | Skipped]:
        if self._failure:
            self._failure.behind += data
            self._raise_named(self._failure)
            return []
        self._buffer += data
        if self._waits_for_more(data):
            return []
        data = self._take_buffer()
        if self._lines is None:
            data = self._begin(data)
            if not data:
                return []
        cut = end_of_whole_escapes(data)
        self._buffer += data[cut:]
        return self._read(data[:cut])

    def _read(self, data: bytes) -> list[Conversation | Skipped]:
        """Parse bytes, and count their lines.

        An error is raised once the word at its position is complete, so that the message can name it.
        """
        begin = self._offset
        try:
            found = self._parse(data)
        except BrokenDump as exc:
            position = max(exc.offset - begin, 0)
            before = self._last_bytes + data[:position]
            line = self._line_ends + data.count(b"\n", 0, position) + 1 if self._lines else None
            self._failure = _Failure(exc, line, before[-LONGEST_WORD:], data[position:] + self._buffer)
            self._raise_named(self._failure)
            return self._take()
        if self._lines:
            self._line_ends += _count_line_ends(data)
        self._last_bytes = data[-LONGEST_WORD:] if len(data) >= LONGEST_WORD else (self._last_bytes + data)
        return found

    def _raise_named(self, failure: "_Failure", *, is_all: bool = False) -> None:
        """Raise an error, unless the word at its position may continue in the next bytes."""
        exc = failure.error
        expected = failure.named(is_all=is_all)
        if expected is not None:
            raise BrokenDump(exc.offset, expected, failure.line) from exc

    def _waits_for_more(self, data: bytes) -> bool:
        """True if the piece ends inside a string of which too few bytes are buffered.

        yajl starts again at the beginning of an unfinished string, so it gets twice as much of the string each time.
        """
        string = self._string
        is_short = len(self._buffer) < string.size <= LARGEST_DOCUMENT
        return string.in_string and is_short and end_of_string(data) == len(data)

    def _take_buffer(self) -> bytes:
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def close(self) -> list[Conversation | Skipped]:
        if self._failure:
            self._raise_named(self._failure, is_all=True)
        data = self._take_buffer()
        if self._lines is None:
            data = self._begin(data, is_all=True)
        if self._lines is None:
            raise BrokenDump(self._offset, "the input is empty; expected a JSON array of conversations, or JSON Lines")
        found = self._read(data)
        if self._failure:
            self._raise_named(self._failure, is_all=True)
        line = self._line_ends + 1 if self._lines else None
        if self._string.in_string:  # between elements, yajl does not report this
            raise BrokenDump(self._offset, CUT_OFF, line)
        try:
            self._events.close()
            self._builder.process_events()  # a number at the end is complete only now
        except _PARSING_FAILED as exc:
            raise BrokenDump(self._offset, _expectation_of(exc), line) from exc
        return found + self._take()

    def _begin(self, data: bytes, *, is_all: bool = False) -> bytes:
        """Skip white space, and choose the format by the next byte. Returns the rest; empty if it is too short."""
        mark = BYTE_ORDER_MARK if self._offset == 0 else b""
        if len(data) < len(mark) and mark.startswith(data) and not is_all:
            self._buffer += data
            return b""
        text = data.removeprefix(mark).lstrip(b" \t\r\n")
        self._offset += len(data) - len(text)
        self._line_ends += data.count(b"\n", 0, len(data) - len(text))
        if not text:
            return b""
        begins = text[:1] in (b"[", b"{")
        if not is_all and len(text) < (2 if begins else BEGINNING):
            self._buffer += text
            return b""
        if not is_all and b"\n" not in text and len(text) < (LONGEST_FIRST_LINE if _LIST.match(text) else LONGEST_KEY):
            self._buffer += text
            return b""
        if kind := kind_of(text[:BEGINNING]):
            raise ForeignFile(kind)
        if not begins:
            expected = "expected '[' (an array of conversations) or '{' (JSON Lines)"
            raise BrokenDump(self._offset, f"{expected}, found {chr(text[0])!a}")
        self._lines = text[:1] == b"{" or _is_line_of_messages(text[:LONGEST_FIRST_LINE])
        self._builder = ConversationBuilder(depth=0 if self._lines else 1)
        self._events: _Parser = _new_parser(self._builder.events, self._lines)
        self._replay = _Replay(self._offset, primer=b"", lines=self._lines)
        return text

    def _parse(self, data: bytes) -> list[Conversation | Skipped]:
        """Parse bytes that do not end inside an escape sequence."""
        start = 0
        for escape in lone_surrogates(data):
            self._send(data[start:escape])
            self._builder.lone_surrogate()
            self._send(b"\\ufffd")
            start = escape + 6
        # If a conversation ends at this brace, the bytes before it are not needed to find a later error.
        brace = data.rfind(b"}", start) + 1 or start
        self._send(data[start:brace])
        if brace > start and self._builder.between_elements:
            self._replay = _Replay(self._offset, primer=b"" if self._lines else b"[0", lines=bool(self._lines))
        self._send(data[brace:])
        return self._take()

    def _send(self, data: bytes) -> None:
        if self._string.in_string and self._string.size > LARGEST_DOCUMENT:
            data = self._pass_over_string(data)
        if not data:  # empty data mean the end to ijson
            return
        self._replay.keep(data)
        try:
            self._events.send(data)
            self._builder.process_events()
        except _PARSING_FAILED as exc:
            raise self._replay.locate(_expectation_of(exc)) from exc
        begin = self._offset - self._string.size
        self._offset += len(data)
        self._string.follow(data)
        if self._string.number > LONGEST_NUMBER:
            raise BrokenDump(begin + LONGEST_NUMBER, _expectation_of(ValueError()))

    def _pass_over_string(self, data: bytes) -> bytes:
        """Check the rest of a string that is too long, without keeping it. Returns the data after the string."""
        rest = data[: end_of_string(data)]
        inside = _Replay(self._offset, primer=b'["', lines=False)
        inside.keep(rest)
        try:
            _new_parser(ijson.sendable_list(), lines=False).send(b'["' + rest)
        except _PARSING_FAILED as exc:
            raise inside.locate(_expectation_of(exc)) from exc
        self._offset += len(rest)
        self._replay.pass_over(len(rest))
        try:
            rest.decode()
        except UnicodeDecodeError as exc:  # yajl does not find this; it is raised at the end of the string, as always
            self._not_utf8 = self._not_utf8 or exc
        if self._not_utf8 and len(rest) < len(data):
            raise BrokenDump(self._offset, _expectation_of(self._not_utf8)) from self._not_utf8
        return data[len(rest) :]

    def _take(self) -> list[Conversation | Skipped]:
        taken = self._builder.finished[:]
        self._builder.finished.clear()
        return taken


class _Failure:
    """An error, with the bytes around its position. Further bytes may follow."""

    def __init__(self, error: BrokenDump, line: int | None, before: bytes, behind: bytes) -> None:
        self.error = error
        self.line = line
        self.behind = behind
        self._before = before

    def named(self, *, is_all: bool) -> str | None:
        """The message, which names a value that JSON does not have; None while the word may continue."""
        expected = self.error.expected
        behind = _match(_WORD_BEHIND, self.behind)
        word = (_match(_WORD_BEFORE, self._before) + behind).decode(errors="replace")
        if behind and NO_JSON.fullmatch(word):
            expected = f"expected a JSON value, found {word}, which JSON does not have: write null, true or false"
        goes_on = len(behind) == len(self.behind) < LONGEST_WORD
        return None if goes_on and not is_all else expected


def _count_line_ends(data: bytes) -> int:
    """The number of line ends. For long lines, ``find`` takes a tenth of the time of ``count``."""
    count, start = 0, data.find(b"\n")
    while start >= 0 and count < MOST_SOUGHT:
        count += 1
        start = data.find(b"\n", start + 1)
    return count if start < 0 else count + data.count(b"\n", start)


def _match(pattern: re.Pattern[bytes], data: bytes) -> bytes:
    found = pattern.search(data)
    return found[0] if found else b""


class _Replay:
    """Bytes since a restart point, which are parsed again to find the byte of an error.

    ``primer`` brings a new parser into the state at the restart point: inside the array, after an element.
    """

    def __init__(self, offset: int, *, primer: bytes, lines: bool) -> None:
        self._offset = offset
        self._primer = primer
        self._lines = lines
        self._before = bytearray()
        self._last = b""
        self._is_whole = True

    def keep(self, data: bytes) -> None:
        self._before += self._last
        self._last = data
        if len(self._before) + len(data) > LONGEST_REPLAY:
            self._offset += len(self._before)
            self._before.clear()
            self._is_whole = False

    def pass_over(self, count: int) -> None:
        """Skip ``count`` valid bytes that are not kept."""
        self._offset += count

    def locate(self, expected: str) -> BrokenDump:
        """The error at the byte where parsing fails, which is in the last bytes kept."""
        if not self._is_whole:
            offset = self._offset + len(self._before)
            return BrokenDump(offset, f"somewhere in the {len(self._last):,} bytes from here: {expected}")
        # Parsing byte by byte would take quadratic time for long strings.
        fatal = bisect_left(range(1, len(self._last)), x=True, key=self._fails_within)
        return BrokenDump(self._offset + len(self._before) + fatal, expected)

    def _fails_within(self, count: int) -> bool:
        """True if parsing fails within the first ``count`` of the last bytes."""
        found = ConversationBuilder(depth=0 if self._lines else 1)
        parser = _new_parser(found.events, self._lines)
        try:
            for data in filter(None, (self._primer, bytes(self._before), self._last[:count])):
                parser.send(data)
                found.process_events()
        except _PARSING_FAILED:
            return True
        return False


# Errors other than JSON errors: a string with invalid UTF-8 that yajl does not find (a surrogate as three bytes), and a
# number with more digits than Python converts to an int, for which ijson 3.6 raises a SystemError.
_PARSING_FAILED = (ijson.JSONError, UnicodeDecodeError, ValueError, ArithmeticError, SystemError)


def _new_parser(events: Any, lines: bool) -> _Parser:
    parser: _Parser = ijson.basic_parse_coro(events, multiple_values=lines)
    return parser


def _expectation_of(exc: Exception) -> str:
    if isinstance(exc, UnicodeDecodeError):
        return "expected UTF-8 in the string that ends here"
    if isinstance(exc, TooDeep):
        return str(exc)
    if not isinstance(exc, ijson.JSONError):
        return "expected a number of a reasonable size"
    text = exc.args[0] if exc.args else ""
    if isinstance(text, bytes):  # contains a part of the input that is not UTF-8
        text = text.decode(errors="replace")
    message = re.search(r"(?:lexical|parse) error: ([^\n]+)", text)
    if not message:
        return f"expected JSON ({exc})"
    phrase = message.group(1).strip()
    return EXPECTATIONS.get(phrase, phrase)
