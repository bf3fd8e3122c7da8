"""Parquet files: each row is an element, in bounded memory, and a damaged file is named."""

import asyncio
import gzip
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from mimic.corpus.conversation import Conversation, Message
from mimic.corpus.manifest import Skipped
from mimic.errors import DumpError
from mimic_seed.file_reader import FileReader
from mimic_seed.parquet import ROWS
from mimic_seed.source import Source

ASKED = {"role": "user", "content": "hi"}
ANSWERED = {"role": "assistant", "content": "hello 😀"}
HI = [Message("user", "hi"), Message("assistant", "hello 😀")]


def read(file: Path) -> list[Conversation | Skipped]:
    """All rows of a file, and a check of what the source reports."""

    async def read_all() -> list[Conversation | Skipped]:
        reader = FileReader()
        async with Source(file) as source:
            found = [one async for chunk in source.chunks() for one in reader.feed(chunk)]
            assert source.origin().bytes == source.total_bytes == file.stat().st_size
            return found + reader.close()

    return asyncio.run(read_all())


def table(folder: Path, **columns: Any) -> Path:
    """A Parquet file with these columns."""
    file = folder / "own.parquet"
    parquet.write_table(pa.table(columns), file)
    return file


def messages(file: Path) -> list[list[Message] | str]:
    """The messages of each row, or the reason for skipping it."""
    return [one.reason if isinstance(one, Skipped) else list(one.messages) for one in read(file)]


@pytest.mark.parametrize(
    "columns",
    [
        {"messages": [[ASKED, ANSWERED]]},
        {"conversations": [[{"from": "user", "value": "hi"}, {"from": "assistant", "value": "hello 😀"}]]},
        {
            "messages": [json.dumps([ASKED, ANSWERED])],
            "when": [datetime(2026, 1, 1, tzinfo=UTC)],
            "image": [{"bytes": b"\xff"}],
        },
        {"prompt": ["hi"], "completion": ["hello 😀"]},
        {"instruction": ["hi"], "input": pa.array([None], pa.string()), "output": ["hello 😀"]},
        {"prompt": [[ASKED]], "chosen": [[ANSWERED]], "rejected": [[ANSWERED]]},
        {"chosen": [[ASKED, ANSWERED]], "rejected": [[ASKED, ANSWERED]]},
    ],
    ids=" ".join,
)
def test_a_row_is_an_element_of_any_format(tmp_path: Path, columns: dict[str, Any]) -> None:
    """Nested messages, plain columns and JSON texts are read; other columns do not matter."""
    assert messages(table(tmp_path, **columns)) == [HI]


def test_null_fields_are_absent(tmp_path: Path) -> None:
    """A nested column has the fields of all messages, with null where a message lacks one."""
    call = {"id": "c", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    said = [ASKED, {"role": "assistant", "content": None, "tool_calls": [call]}, ANSWERED]
    assert messages(table(tmp_path, messages=[said], id=pa.array([None], pa.int64()))) == [
        [HI[0], Message("function_call", '{"name": "now", "arguments": {}}'), HI[1]]
    ]


def test_values_that_are_no_texts_are_skipped_and_counted(tmp_path: Path) -> None:
    """Numbers, nulls and bytes are not guessed; an id may be a number."""
    assert messages(table(tmp_path, question=[1, 2], answer=[1.5, float("nan")])) == ["`question` is not a string"] * 2
    assert messages(table(tmp_path, prompt=[b"hi"], completion=[b"hello"])) == ["`prompt` is not a string"]
    assert messages(table(tmp_path, prompt=["hi", None], completion=["hello 😀", "x"]))[0] == HI
    [found] = read(table(tmp_path, id=[7], prompt=["hi"], completion=["hello"]))
    assert found.id == "7"


def test_batches_of_rows_follow_one_another(tmp_path: Path) -> None:
    """All rows of all row groups are read, in their order."""
    count = 2 * ROWS + 1
    file = tmp_path / "own.parquet"
    questions = [f"question {number}" for number in range(count)]
    parquet.write_table(pa.table({"question": questions, "answer": questions}), file, row_group_size=ROWS + 3)
    assert [one[0].value for one in messages(file) if isinstance(one, list)] == questions


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage, unknown columns, a compressed file, and the missing package each have their own text."""
    file = table(tmp_path, question=["hi"] * 1000, answer=["hello"] * 1000)
    stored = file.read_bytes()
    for damaged in (stored[:300], stored[:20] + bytes(50) + stored[70:], b"PAR1"):
        file.write_bytes(damaged)
        with pytest.raises(DumpError, match=r"is a Parquet file that is damaged \(.+\)"):
            read(file)
    file.write_bytes(gzip.compress(stored))
    with pytest.raises(DumpError, match="give it as a file of its own"):
        asyncio.run(_read_text(file))
    with pytest.raises(DumpError, match=r"a Parquet file with the columns name, city\. Understood are: "):
        read(table(tmp_path, name=["x"], city=["y"]))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DumpError, match=r"pip install 'mimic-chat\[parquet\]'"):
        read(file)


async def _read_text(file: Path) -> None:
    reader = FileReader()
    async with Source(file) as source:
        async for chunk in source.chunks():
            reader.feed(chunk)
        reader.close()
