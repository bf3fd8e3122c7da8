"""Reading a dump: legal, skipped and refused content, with positions."""

import json
from bisect import bisect_left
from typing import Any

import ijson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic.corpus.conversation import Conversation, Message
from mimic.corpus.manifest import Skipped
from mimic.corpus.sizes import LARGEST_DOCUMENT, fits
from mimic.errors import BrokenDump
from mimic_seed import reader
from mimic_seed.reader import DumpReader
from tests.support.reading import ONE, READ, all_expected, error, expected_of, read


def test_ijson_has_its_fast_backend() -> None:
    """The C backend is there; without it the user gets a warning."""
    assert ijson.backend == "yajl2_c"
    assert not reader.SLOW_BACKEND


@pytest.mark.parametrize(
    "text",
    [f"[{ONE}]", f" \n[{ONE}\n]\n ", ONE, f"{ONE}\n", f"\ufeff[{ONE}]", f"\ufeff{ONE}\n", f"\n\n{ONE}\n\n"],
    ids=["array", "spaces", "line", "lines", "array with BOM", "line with BOM", "empty lines"],
)
def test_the_first_byte_distinguishes_arrays_and_lines(text: str) -> None:
    """An array and JSON Lines hold the same, with any white space and any split."""
    for step in (None, 1, 2, 3, 7):
        assert read(text, step) == [READ]


def test_the_content_of_the_real_dump_is_legal() -> None:
    """Numeric ids, no id, no message, one message, empty messages, the same role twice, unknown roles, other keys."""
    text = """[
      {"id": 4071, "conversations": [{"from": "gpt", "value": "starts"}, {"from": "gpt", "value": ""}]},
      {"conversations": []},
      {"id": null, "items": [{"from": "x", "value": [1, {"from": "y"}]}], "conversations": [{"value": "v", "from": "tool", "n": [[[1]]]}]},
      {"id": 1.50, "conversations": [], "conversations": [{"from": "system", "from": "human", "value": "\\u00e9\\ud83d\\ude00"}]}
    ]"""  # noqa: E501
    assert read(text) == [
        Conversation("4071", [Message("gpt", "starts"), Message("gpt", "")]),
        Conversation(None, []),
        Conversation(None, [Message("tool", "v")]),
        Conversation("1.50", [Message("human", "\u00e9\U0001f600")]),
    ]


@pytest.mark.parametrize(
    ("element", "reason", "named"),
    [
        ('{"id": "b"}', "without messages", "without messages"),
        ('{"id": "b", "x": 1, "y": []}', "without messages", "it has `x`, `y`, and no messages"),
        ('{"id": "b", "conversations": {}}', "`conversations` is not an array", "`conversations` is not an array"),
        ('{"id": "b", "conversations": null}', "`conversations` is not an array", "`conversations` is not an array"),
        ('{"id": "b", "conversations": ["x"]}', "a message is not an object", "message 0 is not an object"),
        ('{"id": "b", "conversations": [["x"]]}', "a message is not an object", "message 0 is not an object"),
        ('{"id": "b", "conversations": [{"value": "v"}]}', "a message without `from`", "message 0 has no `from`"),
        ('{"id": "b", "conversations": [{"from": "h"}]}', "a message without `value`", "message 0 has no `value`"),
        (
            '{"id": "b", "conversations": [{"from": "h", "value": "v"}, {"from": 1, "value": "v"}]}',
            "`from` is not a string",
            "`from` of message 1 is not a string",
        ),
        (
            '{"id": "b", "conversations": [{"from": "h", "value": {"value": "v"}}]}',
            "`value` is not a string",
            "`value` of message 0 is not a string",
        ),
        (
            '{"id": "b", "conversations": [{"from": "h", "value": null}]}',
            "`value` is not a string",
            "`value` of message 0 is not a string",
        ),
        (
            '{"id": "b", "conversations": [{"from": "h", "value": "\\ud83d!"}]}',
            "lone surrogate",
            "message 0 holds a lone surrogate",
        ),
    ],
)
def test_a_broken_conversation_is_skipped_and_named(element: str, reason: str, named: str) -> None:
    """A broken conversation is counted by reason and named by position and id, and its neighbours are read."""
    text = f"[{ONE}, {element}, {ONE}]"
    for step in (None, 1, 5):
        assert read(text, step) == [READ, Skipped(1, "b", reason, named if named != reason else ""), READ]
    assert str(read(text)[1]) == f"conversation 1 (id b): {named}"


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        *((scalar, "not an object") for scalar in ("1", '"\\udc00"', "null", "true")),
        *((listed, "a list instead of an object") for listed in ("[]", '[{"conversations": []}]')),
    ],
)
def test_an_element_that_is_not_an_object_is_skipped(element: str, reason: str) -> None:
    """Any such element is skipped, without an id."""
    assert read(f"[{ONE}, {element}, {ONE}]") == [READ, Skipped(1, None, reason), READ]


@pytest.mark.parametrize("name", ["true", "[1]", '{"$oid": "5f"}', r'"a\ud800"', r'"\udc00", "x": "\ud800"'])
def test_a_conversation_is_kept_without_an_id_that_cannot_be_used(name: str) -> None:
    """Ids of databases that are neither a string nor a number are counted."""
    text = f'[{ONE}, {{"id": {name}, "system": "s", "tools": [{{"a": 1}}], "conversations": []}}, {ONE}]'.encode()
    for step in (len(text), 1, 7):
        dump = DumpReader()
        found = [item for start in range(0, len(text), step) for item in dump.feed(text[start : start + step])]
        assert [*found, *dump.close()] == [READ, Conversation(None, []), READ]
        assert dump.unusable_ids == 1
    assert read(f'[{{"id": {name}, "id": "b", "conversations": []}}]') == [Conversation("b", [])]


@pytest.mark.parametrize(
    "extra",
    [
        r'"system": "\ud800"',
        r'"tools": [{"name": "\udc00", "from": "\udc00"}]',
        r'"x": {"y": ["\ud83d"]}, "z\udc00": 1',
    ],
)
def test_ignored_fields_may_be_broken(extra: str) -> None:
    """Half a surrogate pair in an ignored field changes nothing, at any place."""
    for text in (f'{{"id": "b", {extra}, "conversations": []}}', f'{{"id": "b", "conversations": [], {extra}}}'):
        for step in (None, 1, 5):
            assert read(f"[{text}, {ONE}]", step) == [Conversation("b", []), READ]
    inside = f'{{"id": "b", "conversations": [{{"from": "h", {extra}, "value": "v"}}, {{"from": "g", "value": "w"}}]}}'
    assert read(inside) == [Conversation("b", [Message("h", "v"), Message("g", "w")])]


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        ('{"dialog": [{"role": "user", "content": "hi"}]}', "without messages, but with `dialog`"),
        ('{"instruction": "a", "result": "b"}', "without messages, but with `instruction`"),
        ('{"error": "Entry not found"}', "without messages, but with `error`"),
        ('{"role": "user", "content": "hi"}', "a message outside of a conversation"),
        ('{"conversations": [{"user": "hi"}]}', "a message with `user` instead of `from`"),
        ('{"conversations": [{"from": "human", "markdown": "hi"}]}', "a message with `markdown` instead of `value`"),
    ],
)
def test_other_shapes_are_named(element: str, reason: str) -> None:
    """The report has the field that was found."""
    for step in (None, 1):
        [skipped] = read(element, step)
        assert isinstance(skipped, Skipped)
        assert skipped.reason == reason


@pytest.mark.parametrize(
    ("escaped", "is_lone"),
    [
        (r"\ud800", True),
        (r"\uDFFF", True),
        (r"\ud800\u0041", True),
        (r"\ude00\ud83d", True),
        (r"\ud83d\ud83d\ude00", True),
        (r"\\\ud800", True),
        (r"\ud83d\ude00", False),
        (r"\uD83D\uDE00\ud83d\ude00", False),
        (r"\\ud800", False),
        (r"\\\\ud800\\\\", False),
        (r"\u0041\n\"\ufffd\ud7ff\ue000", False),
    ],
)
def test_lone_surrogates_are_found_wherever_the_bytes_are_cut(escaped: str, is_lone: bool) -> None:
    """Half a pair is broken; a pair, and a backslash that only looks like an escape, are not."""
    text = f'[{{"id": "s", "conversations": [{{"from": "h", "value": "a {escaped} b"}}]}}, {ONE}]'
    for step in (None, *range(1, 20)):
        first, second = read(text, step)
        assert isinstance(first, Skipped) == is_lone
        assert second == READ
        if not is_lone:
            assert first == Conversation("s", [Message("h", json.loads(f'"a {escaped} b"'))])


BEFORE = f"[{ONE}, "


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        ("", 0, "the input is empty"),
        (" \n ", 3, "the input is empty"),
        ("\ufeff", 3, "the input is empty"),
        ('"text"', 0, r"expected '\[' \(an array of conversations\) or '{' \(JSON Lines\), found '\"'"),
        ("nonsense", 0, "expected .* found 'n'"),
        (" \ufeff[]", 1, "expected .* found"),
        (f"[{ONE}", len(ONE) + 1, "the input ends here"),
        (BEFORE, len(BEFORE), "the input ends here"),
        (f"[{ONE}] x", len(ONE) + 3, "expected the end of the input"),
        (f"[{ONE}][{ONE}]", len(ONE) + 2, "expected the end of the input"),
        (f"[{ONE}, , {ONE}]", len(BEFORE), "expected a JSON value"),
        (f"[{ONE} {ONE}]", len(ONE) + 2, "after array element, I expect ',' or '\\]'"),
        (BEFORE + "nil]", len(BEFORE) + 1, "invalid string in json text|expected a JSON value"),
        (BEFORE + '{"id" 1}]', len(BEFORE) + 7, "separated by a colon"),  # a number ends at the byte after it
        (BEFORE + '{"id": "\x07"}]', len(BEFORE) + 8, "invalid character inside string"),
        (BEFORE + '{"id": "\\x"}]', len(BEFORE) + 9, "a character which it may not"),
        (BEFORE + "// no comments\n]", len(BEFORE), "comment"),
        (BEFORE + "NaN]", len(BEFORE), "found NaN, which JSON does not have"),
        (BEFORE + '{"id": -Infinity}]', len(BEFORE) + 8, "found -Infinity, which JSON does not have"),
        (BEFORE + "nan]", len(BEFORE) + 1, "found nan, which JSON does not have"),
        (BEFORE + '{"n": None}]', len(BEFORE) + 6, "found None, which JSON does not have"),
        (BEFORE + "[Infinity", len(BEFORE) + 1, "found Infinity, which JSON does not have"),
        (BEFORE + "Nano]", len(BEFORE), "expected a JSON value$"),
        (BEFORE + '"NaN\x07NaN"]', len(BEFORE) + 4, "invalid character inside string"),
        (ONE + "\n" + ONE[:-1], len(ONE) * 2, "the input ends here"),
        (ONE + "\nnonsense", len(ONE) + 2, "expected a JSON value|invalid string"),
        (BEFORE + '{"id": ' + "1" * 5000 + "}]", len(BEFORE) + 7 + 5000, "a number of a reasonable size"),
    ],
)
def test_broken_json_is_refused_at_its_byte(text: str, offset: int, expected: str) -> None:
    """The error has the offset and the expected token, for any split."""
    for step in (None, 1, 3, 64):
        caught = error(text, step)
        assert caught.offset == offset
        line = "line 2, " if caught.line else ""
        assert str(caught).startswith(f"{line}byte {offset}: ")
        assert bool(line) == text.startswith("{")
        with pytest.raises(BrokenDump, match=expected):
            read(text, step)


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        (f"{ONE}\n{ONE}\nNaN", 3, "found NaN"),
        (f'\n\n{ONE}\r\n{{"id": Infinity}}\n{ONE}', 4, "found Infinity"),
        (f"{ONE}\n" * 3 + ONE[:-1], 4, "the input ends here"),
        (f"{ONE}\n" * 3 + ONE[:-1] + "\n", 5, "the input ends here"),
        (f"{ONE}\n" * 5000 + '{"id": "\\x"}', 5001, "a character which it may not"),
        (f"{ONE}\n" + "\n" * 1_000_000 + '{"id": "a\nb"}', 1_000_002, "invalid character inside string"),
        (ONE + "\n" * 3 + '{"id": "' + "x" * 17_000_000 + '\x07"}', 4, "invalid character inside string"),
        (ONE + '\n{"id": ' + "1" * 300_000 + "}", 2, "a number of a reasonable size"),
    ],
)
def test_an_error_of_json_lines_names_the_line(text: str, line: int, expected: str) -> None:
    """Lines count from 1, beside the byte, for lines of any length and any split."""
    for step in (None, 65_536, *((1, 7) if len(text) < 1000 else ())):
        caught = error(text, step)
        assert caught.line == line
        assert str(caught).startswith(f"line {line}, byte {caught.offset}: ")
        assert expected in caught.expected


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (BEFORE.encode() + b'{"id": "\xff"}]', len(BEFORE) + 8),
        (BEFORE.encode() + b'{"id": "\xc3("}]', len(BEFORE) + 9),
        (BEFORE.encode() + b'{"id": "\xed\xa0\x80"}]', len(BEFORE) + 11),
        (f"[{ONE}]".encode("utf-16"), 0),
        (b"\xfe\xff\x00[", 0),
    ],
)
def test_invalid_utf8_is_refused(data: bytes, offset: int) -> None:
    """The error has the first invalid byte."""
    for step in (None, 1, 5):
        caught = error(data, step)
        assert caught.offset == offset
        assert "UTF-8" in caught.expected


def test_an_error_is_found_far_into_a_large_dump() -> None:
    """The offset is right after many conversations, most of which are not read again."""
    good = ",\n".join([ONE] * 5_000)
    text = f"[{good},\n{ONE[:-1]}]"
    for step in (1000, 4096, 65_536):
        caught = error(text, step)
        assert caught.offset == len(text) - 1
        assert caught.expected == "after key and value, inside map, I expect ',' or '}'"


def test_an_error_after_discarded_bytes_is_located_roughly() -> None:
    """In a conversation over 32 MiB earlier bytes are gone, and the error says so."""
    value = '{"from": "human", "value": "' + "x" * 1000 + '"}, '
    text = f'[{ONE}, {{"id": "huge", "conversations": [{value * 34_000}nonsense'
    caught = error(text, 65_536)
    assert caught.offset <= len(text) - 8 <= caught.offset + 32 * 1024 * 1024
    assert "somewhere in the" in caught.expected


def test_deep_nesting_costs_nothing() -> None:
    """300,000 brackets in an ignored field are accepted; unclosed ones are a truncated file."""
    deep = "[" * 300_000 + "]" * 300_000
    assert read(f'[{{"x": {deep}, "conversations": []}}, {ONE}]') == [Conversation(None, []), READ]
    assert error("[" * 300_000).offset == 300_000


def test_a_conversation_over_16_mib_is_skipped() -> None:
    """A larger conversation would not fit into a MongoDB document; its neighbours are read."""
    texts = ", ".join(f'{{"from": "human", "value": "{"x" * 1_000_000}"}}' for _ in range(17))
    text = f'[{ONE}, {{"id": "big", "conversations": [{texts}]}}, {ONE}]'
    first, skipped, last = read(text, 65_536)
    assert (first, last) == (READ, READ)
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "larger than 16 MiB"


def test_the_limit_is_exact() -> None:
    """The largest conversation that fits is kept, one byte more is skipped."""

    def is_too_large(length: int) -> bool:
        return not fits(Conversation("id", [Message("human", "x" * length)]))

    assert not is_too_large(0)
    lengths = range(LARGEST_DOCUMENT - 200, LARGEST_DOCUMENT + 1)
    first = lengths[bisect_left(lengths, True, key=is_too_large)]
    kept, skipped = (
        read(json.dumps([{"id": "id", "conversations": [{"from": "human", "value": "x" * length}]}]))[0]
        for length in (first - 1, first)
    )
    assert isinstance(kept, Conversation)
    assert isinstance(skipped, Skipped)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "conversations", "from", "value", "x"]), inner, max_size=4)
    ),
    max_leaves=40,
)


WELL_FORMED = st.fixed_dictionaries(
    {
        "conversations": st.lists(
            st.fixed_dictionaries({"from": st.text(max_size=3) | JSON, "value": st.text(max_size=5) | JSON}) | JSON,
            max_size=4,
        )
    },
    optional={"id": st.text(max_size=3) | JSON, "x": JSON},
)


@given(st.lists(WELL_FORMED | JSON, max_size=5), st.integers(1, 40), st.booleans(), st.booleans())
def test_any_json_is_read_as_a_plain_parser_would(
    elements: list[Any], step: int, as_lines: bool, ascii_only: bool
) -> None:
    """On generated JSON, in both formats and any split, the same conversations are read and skipped."""
    if as_lines:
        elements = [element for element in elements if isinstance(element, dict)]
        text = "\n".join(json.dumps(element, ensure_ascii=ascii_only) for element in elements)
    else:
        text = json.dumps(elements, ensure_ascii=ascii_only)
    data = text.encode(errors="surrogatepass")
    if any("\ud800" <= character <= "\udfff" for character in text) or not (elements or not as_lines):
        return
    found = [item.position if isinstance(item, Skipped) else item for item in read(data, step)]
    if as_lines:
        assert found == [expected_of(position, element) for position, element in enumerate(elements)]
    else:
        assert found == all_expected(elements)


@given(
    st.binary(max_size=60) | st.text("[]{},:\"'\\ud80f \n\x00\u00e91e", max_size=60).map(str.encode), st.integers(1, 9)
)
def test_any_bytes_are_read_or_refused_the_same_however_they_are_cut(data: bytes, step: int) -> None:
    """The result is a reading or our own error."""

    def outcome(step: int | None) -> Any:
        try:
            return read(data, step)
        except BrokenDump as exc:
            return exc.offset, exc.expected

    assert outcome(step) == outcome(None)
