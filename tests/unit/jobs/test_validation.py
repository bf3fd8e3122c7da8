"""Validation of a batch's input: blocks of lines, and errors with their lines."""

import json
from collections.abc import Sequence
from typing import Any, Final

import pytest

from mimic.jobs.validation import Checked, InputChecker

CHAT: Final = "/v1/chat/completions"


def line(custom_id: Any, body: Any = None, url: Any = CHAT, **fields: Any) -> str:
    """A line of an input."""
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body or {"model": "m"}, **fields})


def check(data: bytes, size: int = 1000) -> Checked:
    """Check an input that comes in pieces of a size."""
    checker = InputChecker(CHAT)
    for start in range(0, len(data), size):
        checker.feed(data[start : start + size])
        if checker.is_over:
            break
    return checker.close()


@pytest.mark.parametrize("end", ["", "\n", "\r\n\n"])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_blocks_hold_a_hundred_lines(end: str, size: int) -> None:
    """Blocks have all lines, whatever the pieces, and empty lines count for the numbers only."""
    lines = [line(str(number)) for number in range(250)]
    lines[100:100] = ["", " "]
    data = ("\n".join(lines) + end).encode()
    checked = check(data, size)
    assert (checked.total, checked.model, checked.errors) == (250, "m", [])
    assert [block.first for block in checked.blocks] == [1, 103, 203]
    firsts = [json.loads(data[block.start :].partition(b"\n")[0])["custom_id"] for block in checked.blocks]
    assert firsts == ["0", "100", "200"]
    joined = "".join(data[block.start : block.end].decode() for block in checked.blocks)
    assert [json.loads(one)["custom_id"] for one in joined.splitlines() if one.strip()] == [str(n) for n in range(250)]


@pytest.mark.parametrize(
    ("lines", "code", "number", "param"),
    [
        ([], "empty_file", None, None),
        (["", "  "], "empty_file", None, None),
        ([line("a"), "{"], "invalid_json_line", 2, None),
        ([line("a"), "[]"], "invalid_json_line", 2, None),
        (['{"custom_id": "\\ud800"}'], "invalid_json_line", 1, None),
        ([line("a"), "", line("a")], "duplicate_custom_id", 3, "custom_id"),
        ([json.dumps({"custom_id": "a", "method": "POST", "url": CHAT})], "missing_required_parameter", 1, "body"),
        ([json.dumps({"method": "POST"})], "missing_required_parameter", 1, "custom_id"),
        ([line(7)], "invalid_custom_id", 1, "custom_id"),
        ([line("")], "invalid_custom_id", 1, "custom_id"),
        ([line("a", method="GET")], "invalid_method", 1, "method"),
        ([line("a", url="/v1/embeddings")], "mismatched_endpoint", 1, "url"),
        ([line("a", url=["x"])], "mismatched_endpoint", 1, "url"),
        ([line("a", [1])], "invalid_type", 1, "body"),
    ],
)
def test_errors_have_their_lines(lines: Sequence[str], code: str, number: int | None, param: str | None) -> None:
    """Each error has a code, the number of its line, and its field."""
    [error] = check("\n".join(lines).encode(), 1_000_000).errors
    assert (error.code, error.line, error.param) == (code, number, param)


@pytest.mark.parametrize("is_json", [True, False])
def test_a_line_may_be_too_large(is_json: bool) -> None:
    """The error has the number of the line, whether it ends soon after the limit or not."""
    large = line("a", "x" * 10_000_000) if is_json else "x" * 30_000_000
    [error] = check("\n".join([line("b"), large]).encode(), 1_000_000).errors
    assert (error.code, error.line, error.param) == ("line_too_large", 2, None)


def test_the_limits_of_an_input() -> None:
    """An input has at most 50,000 lines and 200 MB, and a hundred errors are enough."""
    short = "\n".join(f'{{"custom_id":"{n}","method":"POST","url":"{CHAT}","body":{{}}}}' for n in range(50_001))
    assert [error.code for error in check(short.encode(), 100_000).errors] == ["too_many_lines"]
    assert not check(short.rpartition("\n")[0].encode(), 100_000).errors
    assert len(check(b"{\n" * 1000, 10).errors) <= 105


def test_a_large_input_ends_early() -> None:
    """The rest of an input of more than 200 MB is not read."""
    checker, number = InputChecker(CHAT), 0
    large = line("NUMBER", "x" * 9_000_000).encode() + b"\n"
    while not checker.is_over:
        number += 1
        checker.feed(large.replace(b"NUMBER", b"%d" % number))
    assert number == 23
    assert [error.code for error in checker.close().errors] == ["invalid_type"] * 23 + ["file_too_large"]
