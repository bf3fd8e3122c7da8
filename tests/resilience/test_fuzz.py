"""Fuzz tests of the dump reader and its sources: a result or our own error for any file, in bounded memory.

Valid JSON is compared with the standard library's parser. ``make soak`` tries many more examples.
"""

import gzip
import json
import multiprocessing
import resource
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from mimic.corpus.conversation import Conversation
from mimic.corpus.manifest import Skipped
from mimic.errors import BrokenDump
from mimic_seed.compression import CODINGS, Decompressor
from mimic_seed.conversation_builder import DEEPEST, SHOWN_OF_ID
from mimic_seed.reader import LONGEST_NUMBER, PIECE, DumpReader
from tests.support.reading import ONE, READ, all_expected, error, expected_of, read

SOAK = settings(max_examples=5_000, phases=[Phase.explicit, Phase.generate, Phase.shrink])
BRIEF = settings(max_examples=20)

NUMBERS = ("0", "-0", "-0.0", "1e999999", "-1E-999999", "1.50", "4071", "9" * 4000, "9" * 5000, "0." + "1" * 5000)
NO_NUMBERS = ("1e9999999999999999999", "01", "-", "1.", ".5", "+1", "0x1", "1e", "NaN", "-Infinity")
STRINGS = (
    *map(json.dumps, ("", "id", "from", "value", "conversations", "\0", "\u00e9\U0001f600\ufeff", 'a"b\\', "\\ud800")),
)
LONE = (r'"\ud800"', r'"\udfff a"', r'"\ud83d\ud83d\ude00"', r'"\ude00\ud83d"', r'"\uD800\u0041"', r'"\\\ud800"')
KEYS = ('"id"', '"conversations"', '"from"', '"value"', '"x"', '""', r'"i\u0064"', r'"\u0000"')
SPACE = ("", "", " ", "\n", "\t\r\n")
NOT_UTF8 = (b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80", b"\xe4\xbd", b"\x80")
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "latin-1")
PIECES = (
    *NOT_UTF8,
    *(text.encode() for text in (*NUMBERS, *NO_NUMBERS, *STRINGS, *LONE, *KEYS, ONE)),
    *(character.encode() for character in '[]{},:"\\ \n\0\x7f\ufeff'),
    *(b"[" * 50, b"]" * 50, b'{"a":' * 50, b"}" * 50, b"true", b"null", b"//", b"/**/", rb"\ud83d", rb"\u00", b"\\"),
)


@cache  # making and checking strategies again for each example takes most of the time
def json_texts() -> st.SearchStrategy[str]:
    """JSON with repeated keys, numbers of all kinds, and white space anywhere."""
    scalars = st.sampled_from((*NUMBERS, *STRINGS, *LONE, "true", "false", "null"))
    return st.recursive(scalars, _compound, max_leaves=12)


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    space = st.sampled_from(SPACE)
    pairs = st.builds("{}{}:{}{}".format, st.sampled_from(KEYS), space, space, inner)
    return st.builds(_joined, st.lists(inner, max_size=4), st.just("[]"), space) | st.builds(
        _joined, st.lists(pairs, max_size=4), st.just("{}"), space
    )


def _joined(parts: Sequence[str], brackets: str, space: str) -> str:
    return brackets[0] + f",{space}".join(parts) + space + brackets[1]


@cache
def elements() -> st.SearchStrategy[str]:
    """Conversations for the most part, or altered ones."""
    texts = st.sampled_from(STRINGS) | st.text(max_size=5).map(json.dumps)
    values = texts | texts | json_texts()
    message = st.builds('{{"from":{}, "value":{}}}'.format, values, values)
    messages = st.lists(message | message | json_texts(), max_size=4).map(lambda said: _joined(said, "[]", " "))
    fields = st.builds("{}: {}".format, st.sampled_from(('"id"', '"x"')), json_texts())
    said = st.builds('"conversations": {}'.format, messages | messages | json_texts())
    parts = st.lists(fields | said | said, max_size=4)
    return st.builds(_joined, parts, st.just("{}"), st.sampled_from(SPACE))


@cache
def dumps() -> st.SearchStrategy[bytes]:
    """A dump, as an array or as JSON Lines."""
    found, space = st.lists(elements(), max_size=4), st.sampled_from(SPACE)
    with_more = st.builds(list.__add__, found, st.lists(json_texts(), max_size=1))
    return (found.map("\n".join) | st.builds(_joined, with_more, st.just("[]"), space)).map(str.encode)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A damaged dump: cut off, with a part removed, overwritten, or in another encoding."""
    data = draw(dumps())
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.sampled_from((start, start, start + 1, start + 7, len(data))))
        piece = draw(st.sampled_from(PIECES) | st.sampled_from((b"", data[start:end] * 2)) | st.binary(max_size=4))
        data = data[:start] + piece + data[end:]
    if draw(st.integers(0, 9)) == 0:
        encoding = draw(st.sampled_from(ENCODINGS))
        data = data.decode(errors="replace").encode(encoding, errors="replace")
    return data


splits = st.lists(st.integers(1, 30), min_size=1, max_size=6)


def pieces(data: bytes, split: Sequence[int]) -> Iterator[bytes]:
    """The bytes, cut into pieces of these lengths in turn."""
    start, turn = 0, 0
    while start < len(data):
        end = start + split[turn % len(split)]
        yield data[start:end]
        start, turn = end, turn + 1


def outcome(parts: Iterator[bytes] | Sequence[bytes]) -> tuple[list[Conversation | Skipped], str]:
    """The elements read, or the error: then nothing is seeded, and the elements before it do not count."""
    reader = DumpReader()
    found: list[Conversation | Skipped] = []
    try:
        for part in parts:
            found += reader.feed(part)
        found += reader.close()
    except BrokenDump as exc:
        return [], str(exc)
    return found, ""


def plain(data: bytes) -> list[Any] | None:
    """The elements of a dump by the standard library's parser, objects as pairs; None if it is invalid."""

    def no_number(text: str) -> None:
        raise ValueError(text)

    decoder = json.JSONDecoder(object_pairs_hook=Pairs, parse_float=Decimal, parse_constant=no_number)
    try:
        text = data.decode().removeprefix("\ufeff").strip(" \t\r\n")
        if text.startswith("["):
            return list(decoder.decode(text))
        found: list[Any] = []
        while text.startswith("{") or (text and found):
            element, end = decoder.raw_decode(text)
            found.append(element)
            text = text[end:].lstrip(" \t\r\n")
    except (ValueError, InvalidOperation):
        return None
    return found or None


class Pairs(dict[str, Any]):
    """An object, in which the last of several values for a key counts; ``all`` has the others as well."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.all = pairs


def plainly(elements: list[Any]) -> list[Conversation | int]:
    """The elements, read one by one."""
    return [expected_of(position, element) for position, element in enumerate(elements)]


def holds_lone_surrogate(value: Any) -> bool:
    """Return True if any text has half of a surrogate pair."""
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, Pairs):
        return any(holds_lone_surrogate(part) for pair in value.all for part in pair)
    return isinstance(value, list) and any(map(holds_lone_surrogate, value))


def allowed(position: int, element: Any) -> list[Conversation | int]:
    """The allowed readings of an element: its conversation, or its position if it may be skipped.

    Half a pair in the text or the sender of a message skips the conversation; in an id it costs the id alone. In values
    that do not count, since the key repeats, both are allowed.
    """
    if not holds_lone_surrogate(element):
        return [expected_of(position, element)]
    plainly = expected_of(position, element)
    if isinstance(plainly, int) or holds_lone_surrogate([[one.sender, one.value] for one in plainly.messages]):
        return [position]
    name = None if holds_lone_surrogate(plainly.id) else plainly.id
    in_messages = any(key == "conversations" and holds_lone_surrogate(value) for key, value in element.all)
    is_doubtful = in_messages or sum(key == "id" for key, _ in element.all) > 1
    read: list[Conversation | int] = [Conversation(name, plainly.messages)]
    if is_doubtful:
        read += [position, Conversation(None, plainly.messages)]
    return read


def check(data: bytes, split: Sequence[int]) -> None:
    """Assert that every split, and a plain reader, give the same result or error."""
    whole = outcome([data])
    assert outcome(pieces(data, split)) == whole
    found, problem = whole
    elements = plain(data)
    if elements is None and not problem:  # the fast parser accepts vertical tabs and form feeds as white space, too
        elements = plain(data.translate(bytes.maketrans(b"\v\f", b"  ")))
    assert bool(problem) == (elements is None), problem
    if elements is not None:
        if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[" and all_expected(elements) != plainly(elements):
            elements = [Pairs([("conversations", elements)])]  # a bare list of messages, or of other elements
        read_as = [item.position if isinstance(item, Skipped) else item for item in found]
        assert len(read_as) == len(elements)
        for position, element in enumerate(elements):
            assert read_as[position] in allowed(position, element)


@BRIEF
@given(mutated(), splits)
@example(b"[\v]", [1])
@example(b'[{"id": ["\\ud800"], "conversations": []}]', [1])
@example(b'[{"id": "\\ud800", "conversations": []}]', [1])
@example(b'[{"conversations": [], "x": "\\ud800"}]', [1])
@example(b"{}0", [1])
@example(b'{}"cut off', [1])
@example(b'[]"cut off', [1])
@example(b'[{"id": true, "id": "x", "conversations": 1, "conversations": []}]', [3])
@example(b'[{"conversations": [{"from": "", "value": "\\ud800"}], "conversations": [], "": 1}]', [1])
@example(b'[{"conversations": [1], "": 1, "conversations": [{"value": "", "value": 1, "from": ""}]}]', [2])
def test_damaged_dumps_are_read_as_by_a_plain_parser_or_refused(data: bytes, split: list[int]) -> None:
    """Numbers, repeated keys, bytes that are not UTF-8, marks, other encodings, half pairs and NUL are covered."""
    check(data, split)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@SOAK
@given(mutated() | st.binary(max_size=200), splits)
def test_many_more_damaged_dumps(data: bytes, split: list[int]) -> None:
    """Many more damaged dumps are read as by a plain parser or refused."""
    check(data, split)


def test_a_long_number_and_deep_brackets_are_refused_at_their_byte() -> None:
    """The error is the same for every split; a byte less is read."""
    longest = "1." + "0" * (LONGEST_NUMBER - 2)
    assert len(read(f'[{{"id": {longest}, "conversations": []}}]')) == 1
    for step in (None, 1_000, PIECE - 1):
        refused = error(f'[{{"id": {longest}1, "conversations": []}}]', step)
        assert (refused.offset, refused.expected) == (
            8 + LONGEST_NUMBER,
            "expected a number of a reasonable size",
        )
    for step in (None, PIECE - 1):
        refused = error("[ " + "[" * DEEPEST, step)
        assert refused.offset == DEEPEST + 1
        assert refused.expected == f"expected arrays and objects nested less than {DEEPEST:,} deep"


def test_an_error_behind_a_long_string_is_found_at_once() -> None:
    """The time does not grow with the square of the length, also for input in small pieces."""
    for step, length in ((None, 3_000_000), (65_536, 3_000_000), (7, 1_000_000)):
        text = f'[{ONE}, {{"id": "{"x" * length}'.encode()
        assert error(text + b"\x01", step).offset == len(text)


def test_a_skipped_conversation_is_named_by_the_beginning_of_its_id() -> None:
    """The report has the beginning of a long id, so that it fits into a document."""
    [skipped] = read('[{"id": "' + "long" * 1000 + '"}]')
    assert isinstance(skipped, Skipped)
    assert skipped.id == ("long" * 1000)[:SHOWN_OF_ID]


MB = 1_000_000
SAID = b', {"id": "huge", "conversations": [{"from": "human", "value": "'
HUGE: dict[str, tuple[bytes, bytes, bytes, str]] = {
    "a string": (SAID, b"x", b'"}]}', "larger than 16 MiB"),
    "a wide string": (SAID + "\U0001f600".encode(), b"x", b'"}]}', "larger than 16 MiB"),
    "escapes": (SAID, rb"\u0041\n\"\\xxxxxxxx", b'"}]}', "larger than 16 MiB"),
    "characters": (SAID, "\u4f60".encode(), b'"}]}', "larger than 16 MiB"),
    "half pairs at the end": (SAID, b"x", b'\\ud800"}]}', "lone surrogate"),
    "an id": (b', {"conversations": [], "id": "', b"x", b'"}', "larger than 16 MiB"),
    "a key": (b', {"conversations": [], "', b"x", b'": 1}', ""),
    "a field that nobody needs": (b', {"conversations": [], "x": "', b"x", b'"}', ""),
    "empty messages": (b', {"conversations": [', b'{"from":"","value":""},', b"{}]}", "larger than 16 MiB"),
    "white space": (b"", b" \n", b', {"conversations": []}', ""),
    "a broken string": (SAID, b"x", b"\x01", "byte {}: invalid character inside string."),
    "a string that is not UTF-8": (SAID, b"x", b"\xff", "byte {}: expected UTF-8"),
    "a string with half a pair as UTF-8": (
        SAID,
        b"x",
        b'\xed\xa0\x80"',
        "byte {}: expected UTF-8 in the string that ends here",
    ),
    "a string with an error behind it": (SAID, b"x", b'" ?', "byte {}: expected a JSON value"),
    "a string without end": (
        SAID,
        b"x",
        b"",
        "byte {}: the input ends here, in the middle of the JSON text (truncated file?)",
    ),
}


def read_much(head: bytes, piece: bytes, size: int, tail: bytes) -> tuple[list[Any], str, int]:
    """Read a dump with the given bytes between two good conversations; return items, error, and memory in bytes."""
    pack = piece * (PIECE // len(piece))
    count = size // len(pack)

    def parts() -> Iterator[bytes]:
        yield b"[" + ONE.encode() + head
        for _ in range(count):
            yield from (pack[:1], pack[1:])
        yield tail
        yield b", " + ONE.encode() + b"]" if tail.endswith(b"}") else b""

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader = DumpReader()
    found: list[Conversation | Skipped] = []
    problem = ""
    try:
        for part in parts():
            found += reader.feed(part)
        found += reader.close()
    except BrokenDump as exc:
        problem = str(exc).replace(
            str(len(ONE) + 1 + len(head) + len(pack) * count + len(tail.rstrip(b'\x01\xff"?'))), "{}"
        )
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return [item.reason if isinstance(item, Skipped) else item.id for item in found], problem, grown * 1024


def check_memory(name: str, size: int, most: int) -> None:
    """Read as much in a process of its own, for a clean measurement of memory."""
    head, piece, tail, expected = HUGE[name]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        *read, grown = process.submit(read_much, head, piece, size, tail).result()
    assert read == outcome_of(expected)
    assert grown < most


def outcome_of(expected: str) -> list[Any]:
    """The elements and the error of a dump with this in its middle."""
    return [[READ.id], expected] if expected.startswith("byte") else [[READ.id, expected or None, READ.id], ""]


@pytest.mark.parametrize("name", HUGE)
def test_long_elements_are_skipped_or_ignored(name: str) -> None:
    """The neighbours of a skipped element are read, and errors in its discarded part are found."""
    head, piece, tail, expected = HUGE[name]
    size = {"escapes": 29 * MB, "empty messages": 10 * MB}.get(name, 18 * MB)
    found, problem, _ = read_much(head, piece, size, tail)
    assert [found, problem] == outcome_of(expected)


def test_memory_is_bounded() -> None:
    """A string of 200 MB does not take 200 MB of memory."""
    check_memory("a string", 200 * MB, most=110 * MB)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", HUGE)
def test_memory_is_bounded_whatever_is_long(name: str) -> None:
    """A gigabyte of any element takes bounded memory."""
    check_memory(name, 1000 * MB, most=250 * MB)


RESERVED_FLAGS = 0b1110_0000
HEADER_CHECKSUM = 0b0000_0010


@BRIEF
@given(
    dumps() | st.binary(max_size=50), st.lists(st.tuples(st.integers(0, 80), st.binary(max_size=3)), max_size=2), splits
)
@example(b"", [(3, b" ")], [1])
@example(b"", [(3, b"\x02")], [1])
def test_damaged_gzip_data_are_refused_as_by_the_standard_library(
    data: bytes, damage: list[tuple[int, bytes]], split: list[int]
) -> None:
    """Damaged gzip data fail however they are split: cut off, overwritten, with garbage at the end.

    The standard library ignores two checks of the header in RFC 1952, which zlib makes. Reserved flags must be 0, and
    the checksum of the header must be right if there is one.
    """
    stored = gzip.compress(data)
    for position, piece in damage:
        stored = stored[:position] + piece + stored[position + 1 :]
    if not stored.startswith(b"\x1f\x8b"):
        return
    gunzip = Decompressor(CODINGS["gzip"])
    try:
        text: bytes | None = b"".join(piece for part in pieces(stored, split) for piece in gunzip.feed(part))
        gunzip.close()
    except BrokenDump:
        text = None
    flags = stored[3]
    expected = None if flags & RESERVED_FLAGS else decompressed(stored)
    assert text == expected or (text is None and flags & HEADER_CHECKSUM)


def decompressed(stored: bytes) -> bytes | None:
    """The text of gzip data by the standard library."""
    try:
        return gzip.decompress(stored)
    except (OSError, EOFError, zlib.error):
        return None
