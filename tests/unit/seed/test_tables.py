"""Tables (CSV): rows are elements, whatever the delimiter, the quotes and the split of the bytes."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic.corpus.conversation import Conversation, Message
from mimic.corpus.manifest import Skipped
from mimic.errors import BrokenDump, ForeignFile
from mimic_seed.conversation_builder import LARGEST_ELEMENT
from tests.support.reading import error, read

HI = [Message("user", "hi"), Message("assistant", "hello")]


@pytest.mark.parametrize(
    "text",
    [
        "prompt,completion\nhi,hello\n",
        "prompt,completion\r\nhi,hello\r\n",
        "\ufeffprompt,completion\nhi,hello",
        '"Prompt";"Completion"\n"hi";"hello"\n',
        "Question\tAnswer\textra\nhi\thello\t7\n",
        "instruction|input|output\nhi||hello\n",
        'n,messages\n1,"[{""role"": ""user"", ""content"": ""hi""}, {""from"": ""assistant"",\n""value"": ""hello""}]"',
    ],
    ids=["plain", "Windows", "mark", "semicolons", "tabs", "bars", "JSON"],
)
def test_a_table_with_a_header_is_read(text: str) -> None:
    """The header shows the delimiter and the format."""
    for step in (None, 1, 3):
        assert read(text, step) == [Conversation(None, HI)]


def test_rows_that_cannot_be_read_are_skipped() -> None:
    """Too few cells and broken JSON are reasons; empty lines are none."""
    found = read("id,messages\n1,[]\n\n2\n3,[{\n,\n")
    assert found[0] == Conversation("1", [])
    reasons = [(one.position, one.id, one.reason) for one in found if isinstance(one, Skipped)]
    assert reasons == [
        (1, "2", "a row with another number of cells than the header"),
        (2, "3", "`messages` is not an array"),
        (3, None, "`messages` is not an array"),
    ]


def test_a_table_of_other_columns_names_them() -> None:
    """The error has the columns found and the shapes understood."""
    caught = error("title,body\na,b\n")
    assert isinstance(caught, ForeignFile)
    assert "a table (CSV) with the columns title, body. Understood are: " in str(caught)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('prompt,completion\nhi,"hello', "inside quotes (truncated file?)"),
        ('prompt,completion\n"hi"x,hello\n', "',' expected after '\"'"),
        (b"prompt,completion\nhi,\xff\n", "expected UTF-8"),
        (b"prompt,completion\nhi,hell\xc3", "expected UTF-8"),
    ],
)
def test_a_broken_table_is_refused(text: str | bytes, problem: str) -> None:
    """The error is the same for every split."""
    for step in (None, 1, 3):
        assert problem in str(error(text, step))


def test_a_quote_without_end_does_not_take_memory() -> None:
    """A row of more than 16 MiB is an error at once."""
    with pytest.raises(BrokenDump, match="a row has more than 16 MiB"):
        read(b'prompt,completion\n"' + (b"x" * 98 + b",\n") * (LARGEST_ELEMENT // 100 + 15_000), 1_000_000)


def test_stray_quotes_do_not_take_long() -> None:
    """Lines inside quotes that look complete are not parsed again and again."""
    lines = "x,y\n" * 300_000
    found = read(f'prompt,completion\na"b,"c\n{lines}"\nhi,hello\n', 100_000)
    assert found == [
        Conversation(None, [Message("user", 'a"b'), Message("assistant", f"c\n{lines}")]),
        Conversation(None, HI),
    ]


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=8)


@given(st.lists(st.tuples(CELL, CELL), max_size=4), st.integers(1, 20), st.sampled_from(",;\t|"))
def test_any_table_is_read_however_it_is_cut(rows: list[tuple[str, str]], step: int, delimiter: str) -> None:
    """Quotes, delimiters and line ends in cells are read as the csv module writes them."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([("prompt", "completion"), *rows])
    expected = [Conversation(None, [Message("user", a), Message("assistant", b)]) for a, b in rows]
    if not any(cell.startswith(("[", "{")) for row in rows for cell in row):  # may be JSON
        assert read(file.getvalue(), step) == expected


def test_json_in_a_cell_may_be_cut_anywhere() -> None:
    """A whole conversation in a cell has quotes, commas and line ends."""
    file = io.StringIO()
    said = [{"role": "user", "content": 'a "b",\n\n"c"'}]
    csv.writer(file).writerows([("id", "messages"), ("7", json.dumps(said, indent=1))])
    for step in range(1, 40):
        assert read(file.getvalue(), step) == [Conversation("7", [Message("user", 'a "b",\n\n"c"')])]
