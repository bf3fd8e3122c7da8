"""Conversations from the bytes of a ShareGPT dump. Pure: bytes are pushed in, conversations come out.

The dump is one JSON array of ``{"id", "conversations": [{"from", "value"}, ...]}``, or such objects one after another
(JSON Lines); which of the two shows in its first byte. JSON is parsed by ijson; this module puts the events together
(keeping nothing but what a conversation has, so memory is bounded by the largest one) and finds the byte of an error.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import ijson

from mimic.conversations import Conversation, Message
from mimic.errors import BrokenDump
from mimic.schemas import LARGEST_DOCUMENT, fits
from mimic.seedings import Skipped

SLOW_BACKEND = ijson.backend != "yajl2_c"
"""Whether ijson's C backend is missing, so that reading takes some twenty times as long."""

LONGEST_REPLAY = 32 * 1024 * 1024
"""Bytes that are kept at most to find the byte of an error in."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# What yajl says, where it does not say what it expected (yajl_parser.c and yajl_lex.c, version 2.1).
EXPECTATIONS = {
    "premature EOF": "the input ends here, in the middle of the JSON text (was it cut off?)",
    "trailing garbage": "expected the end of the input after the array",
    "unallowed token at this point in JSON text": "expected a JSON value",
    "invalid bytes in UTF8 string.": "expected UTF-8",
    "invalid char in json text.": "expected a JSON value",
}


FIELD, ITEM, TEXT = 1, 2, 3
"""How deep below an element of the dump its fields lie, the items of its messages, and a message's fields."""


class _Parser(Protocol):
    """ijson's push parsers: bytes in by ``send``, events out into a list."""

    def send(self, data: bytes, /) -> None: ...
    def close(self) -> None: ...


class DumpReader:
    """A push parser for dumps.

    :meth:`feed` takes bytes, cut anywhere, and returns what they completed, in order: conversations, and those that
    are skipped because they are broken. :meth:`close` says that there are no more bytes. Both raise BrokenDump.
    """

    def __init__(self) -> None:
        self._offset = 0
        self._lines: bool | None = None
        self._held = b""
        self._found = _Found(depth_of_elements=0)
        self._replay = _Replay(0, primer=b"", lines=False)

    def feed(self, data: bytes) -> list[Conversation | Skipped]:
        data = self._held + data
        if self._lines is None:
            self._held = data
            data = self._begin(data)
            if not data:
                return []
        cut = _end_of_whole_escapes(data)
        self._held = data[cut:]
        return self._parse(data[:cut])

    def close(self) -> list[Conversation | Skipped]:
        if self._lines is None:
            raise BrokenDump(self._offset, "the input is empty; expected a JSON array of conversations, or JSON Lines")
        found = self._parse(self._held)
        try:
            self._events.close()
        except _PARSING_FAILED as exc:
            raise BrokenDump(self._offset, _expected(exc)) from exc
        return found + self._take()

    def _begin(self, data: bytes) -> bytes:
        """Skip to the first byte that counts, and choose the format by it. Empty while there is no such byte."""
        if data.startswith((b"\xff", b"\xfe")):
            raise BrokenDump(0, "expected UTF-8, found UTF-16")
        if len(data) < len(BYTE_ORDER_MARK) and BYTE_ORDER_MARK.startswith(data):
            return b""
        text = data.removeprefix(BYTE_ORDER_MARK).lstrip(b" \t\r\n")
        self._offset += len(data) - len(text)
        self._held = b""
        if not text:
            return b""
        if text[:1] not in (b"[", b"{"):
            expected = "expected '[' (an array of conversations) or '{' (JSON Lines)"
            raise BrokenDump(self._offset, f"{expected}, found {chr(text[0])!a}")
        self._lines = text[:1] == b"{"
        self._found = _Found(depth_of_elements=0 if self._lines else 1)
        self._events: _Parser = _new_parser(self._found.events, self._lines)
        self._replay = _Replay(self._offset, primer=b"", lines=self._lines)
        return text

    def _parse(self, data: bytes) -> list[Conversation | Skipped]:
        """Parse bytes that end outside of any escape sequence."""
        start = 0
        for escape in _lone_surrogates(data):
            self._send(data[start:escape])
            self._found.lone_surrogate()
            self._send(b"\\ufffd")
            start = escape + 6
        # A conversation may end at a brace; where it does, nothing before it is needed to find an error behind it.
        brace = data.rfind(b"}", start) + 1 or start
        self._send(data[start:brace])
        if brace > start and self._found.between_elements:
            self._replay = _Replay(self._offset, primer=b"" if self._lines else b"[0", lines=bool(self._lines))
        self._send(data[brace:])
        return self._take()

    def _send(self, data: bytes) -> None:
        if not data:  # which to ijson means the end
            return
        self._replay.keep(data)
        try:
            self._events.send(data)
        except _PARSING_FAILED as exc:
            raise BrokenDump(self._replay.find_error(), _expected(exc)) from exc
        self._offset += len(data)
        self._found.work_through()

    def _take(self) -> list[Conversation | Skipped]:
        taken = self._found.finished[:]
        self._found.finished.clear()
        return taken


class _Found:
    """Puts ijson's events together into conversations.

    Depth counts the open arrays and objects; elements of the dump open at ``depth_of_elements``. Whatever is not part
    of a conversation is passed over.
    """

    def __init__(self, depth_of_elements: int) -> None:
        self.events = ijson.sendable_list()
        self.finished: list[Conversation | Skipped] = []
        self._element_depth = depth_of_elements
        self._depth = 0
        self._position = 0
        self._in_messages = False
        self._in_message = False
        self._begin_element()
        self._handlers: dict[str, Callable[[Any], None]] = {
            "map_key": self._key,
            "start_map": lambda _: self._open(is_object=True),
            "start_array": lambda _: self._open(is_object=False),
            "end_map": self._close,
            "end_array": self._close,
        }

    @property
    def between_elements(self) -> bool:
        return self._depth == self._element_depth

    def lone_surrogate(self) -> None:
        """The text about to be parsed holds half of a surrogate pair, which no UTF-8 text can."""
        if not self.between_elements:
            self._blame("lone surrogate", f"message {len(self._messages)} holds a lone surrogate")

    def work_through(self) -> None:
        """Take in the events that have come."""
        handlers = self._handlers
        for event, value in self.events:
            handlers.get(event, self._scalar)(value)
        self.events.clear()

    def _key(self, key: str) -> None:
        if self._depth == self._element_depth + FIELD:
            self._field = key
        elif self._depth == self._element_depth + TEXT:
            self._text_field = key

    def _open(self, *, is_object: bool) -> None:
        self._depth += 1
        depth = self._depth - self._element_depth
        if depth == FIELD:
            self._begin_element(is_object=is_object)
        elif depth == ITEM:
            self._begin_field(is_object=is_object)
        elif depth == TEXT and self._in_messages:
            self._begin_item(is_object=is_object)
        elif depth == TEXT + 1:
            self._depth -= 1
            self._scalar(None)
            self._depth += 1

    def _close(self, _: None) -> None:
        self._depth -= 1
        depth = self._depth - self._element_depth
        if depth == ITEM and self._in_messages:
            self._end_item()
        elif depth == FIELD:
            self._in_messages = False
        elif depth == 0:
            self._end_element()

    def _scalar(self, value: Any) -> None:
        depth = self._depth - self._element_depth
        if depth == TEXT and self._in_message:
            if self._text_field in {"from", "value"}:
                self._texts[self._text_field] = value
        elif depth == ITEM and self._in_messages:
            self._blame("a message is not an object", f"message {len(self._messages)} is not an object")
        elif depth == FIELD:
            if self._field == "id":
                self._take_id(value)
            elif self._field == "conversations":
                self._has_messages = True
                self._blame("`conversations` is not an array")
        elif depth == 0:
            self._begin_element(is_object=False)
            self._end_element()

    def _begin_element(self, *, is_object: bool = True) -> None:
        self._problem: tuple[str, str] | None = None
        self._id: str | None = None
        self._messages: list[Message] = []
        self._characters = 0
        self._has_messages = False
        self._in_messages = False
        self._in_message = False
        self._field = ""
        self._text_field = ""
        self._texts: dict[str, Any] = {}
        if not is_object:
            self._blame("not an object")

    def _begin_field(self, *, is_object: bool) -> None:
        if self._field == "conversations":
            self._in_messages = not is_object
            self._has_messages = True
            self._messages = []
            if is_object:
                self._blame("`conversations` is not an array")
        elif self._field == "id":
            self._blame("`id` is neither a string nor a number")

    def _begin_item(self, *, is_object: bool) -> None:
        self._in_message = is_object
        self._texts = {}
        if not is_object:
            self._blame("a message is not an object", f"message {len(self._messages)} is not an object")

    def _end_item(self) -> None:
        if self._in_message:
            sender, value = self._text("from"), self._text("value")
            self._characters += len(sender) + len(value)
            self._messages.append(Message(sender, value))
            if self._characters > LARGEST_DOCUMENT:
                self._too_large()
        self._in_message = False

    def _text(self, name: str) -> str:
        text = self._texts.get(name, _MISSING)
        if isinstance(text, str):
            return text
        where = f"message {len(self._messages)}"
        if text is _MISSING:
            self._blame(f"a message without `{name}`", f"{where} has no `{name}`")
        else:
            self._blame(f"`{name}` is not a string", f"`{name}` of {where} is not a string")
        return ""

    def _take_id(self, value: Any) -> None:
        if value is None or isinstance(value, str):
            self._id = value
        elif isinstance(value, bool):
            self._blame("`id` is neither a string nor a number")
        else:
            self._id = str(value)

    def _end_element(self) -> None:
        if not self._has_messages:
            self._blame("without `conversations`")
        conversation = Conversation(self._id, self._messages)
        if not self._problem and not fits(conversation):
            self._too_large()
        if self._problem:
            self.finished.append(Skipped(self._position, self._id, *self._problem))
        else:
            self.finished.append(conversation)
        self._position += 1

    def _too_large(self) -> None:
        self._messages = []
        self._characters = 0
        self._blame("larger than 16 MiB", "as one document it is larger than the 16 MiB that MongoDB takes")

    def _blame(self, reason: str, detail: str = "") -> None:
        """Mark the element as broken. What is found first counts."""
        self._problem = self._problem or (reason, detail)


class _Replay:
    """Bytes kept since a point from which they can be parsed again, byte by byte, to find an error.

    ``primer`` puts a new parser into the state it had at that point: inside the array, after an element.
    """

    def __init__(self, offset: int, *, primer: bytes, lines: bool) -> None:
        self._offset = offset
        self._primer = primer
        self._lines = lines
        self._kept: list[bytes] = []
        self._kept_bytes = 0

    def keep(self, data: bytes) -> None:
        self._kept.append(data)
        self._kept_bytes += len(data)
        if self._kept_bytes > LONGEST_REPLAY and len(self._kept) > 1:
            self._offset += self._kept_bytes - len(data)
            self._kept, self._kept_bytes = [data], len(data)
            self._primer = b""

    def find_error(self) -> int:
        """The offset of the byte at which parsing fails; it lies in the last bytes kept."""
        parser = _new_parser(ijson.sendable_list(), self._lines)
        *before, last = self._kept
        offset = self._offset
        try:
            for data in filter(None, (self._primer, *before)):
                parser.send(data)
            offset += self._kept_bytes - len(last)
            for index in range(len(last)):
                parser.send(last[index : index + 1])
                offset += 1
        except _PARSING_FAILED:
            pass
        return offset


_MISSING = object()

# Besides JSON errors: a string that is not UTF-8 where yajl does not look (a surrogate as three bytes), and a number
# with more digits than Python turns into an int, which ijson 3.6 answers with a SystemError.
_PARSING_FAILED = (ijson.JSONError, UnicodeDecodeError, ValueError, ArithmeticError, SystemError)


def _new_parser(events: Any, lines: bool) -> _Parser:
    parser: _Parser = ijson.basic_parse_coro(events, multiple_values=lines)
    return parser


def _expected(exc: Exception) -> str:
    if isinstance(exc, UnicodeDecodeError):
        return "expected UTF-8 in the string that ends here"
    if not isinstance(exc, ijson.JSONError):
        return "expected a number of a size that makes sense"
    said = re.search(r"(?:lexical|parse) error: ([^\n\\]+(?:\\'[^\n\\]*)*)", str(exc))
    if not said:
        return f"expected JSON ({exc})"
    phrase = said.group(1).strip()
    return EXPECTATIONS.get(phrase, phrase)


_ESCAPED_SURROGATE = re.compile(rb"\\u[dD]([89a-fA-F])[0-9a-fA-F]{2}")
_HIGH = b"89abAB"
_UNFINISHED_ESCAPE = re.compile(
    rb"\\(?:u[0-9a-fA-F]{0,3})?\Z"  # \, \u, \uXXX
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z"  # half of a pair, and the start of the other
)
_LONGEST_ESCAPE = len(rb"\ud83d\ude00")


def _lone_surrogates(data: bytes) -> Iterator[int]:
    """Where the escapes of lone surrogates start. yajl would silently replace them by question marks."""
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


def _end_of_whole_escapes(data: bytes) -> int:
    """Where to cut so that no escape, nor pair of surrogates, is cut in two."""
    start = max(0, len(data) - _LONGEST_ESCAPE)
    while unfinished := _UNFINISHED_ESCAPE.search(data, start):
        if not _is_escaped(data, unfinished.start()):
            return unfinished.start()
        start = unfinished.start() + 1
    return len(data)


def _is_escaped(data: bytes, backslash: int) -> bool:
    """Whether the backslash is itself escaped: behind an odd number of others."""
    before = backslash
    while before and data[before - 1] == ord("\\"):
        before -= 1
    return (backslash - before) % 2 == 1
