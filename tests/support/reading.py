"""Ways to read a file of conversations, and the expected results."""

from typing import Any

import pytest

from mimic.corpus.conversation import Conversation, Message
from mimic.corpus.manifest import Skipped
from mimic.errors import BrokenDump
from mimic_seed.file_reader import FileReader

ONE = '{"id": "xfDDcAM_3", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}'
READ = Conversation("xfDDcAM_3", [Message("human", "hi"), Message("gpt", "hello")])


def read(data: bytes | str, step: int | None = None) -> list[Conversation | Skipped]:
    """All elements in these bytes, pushed at once or ``step`` bytes at a time."""
    data = data.encode() if isinstance(data, str) else data
    step = step or max(1, len(data))
    dump = FileReader()
    found = [item for start in range(0, len(data), step) for item in dump.feed(data[start : start + step])]
    return found + dump.close()


def error(data: bytes | str, step: int | None = None) -> BrokenDump:
    """The error of reading these bytes."""
    with pytest.raises(BrokenDump) as caught:
        read(data, step)
    return caught.value


def expected_of(position: int, element: Any) -> Conversation | int:
    """A plain reading of a parsed element: the conversation, or the position of a skipped one."""
    if isinstance(element, list) and element and all(map(_is_message, element)):
        element = {"conversations": element}
    if not isinstance(element, dict) or not isinstance(element.get("conversations"), list):
        return position
    name = element.get("id")
    if isinstance(name, (bool, list, dict)):
        name = None
    messages = []
    for message in element["conversations"]:
        if not isinstance(message, dict):
            return position
        if not (isinstance(message.get("from"), str) and isinstance(message.get("value"), str)):
            return position
        messages.append(Message(message["from"], message["value"]))
    return Conversation(None if name is None else str(name), messages)


def all_expected(elements: list[Any]) -> list[Conversation | int]:
    """A plain reading of an array: its elements are conversations, or all are messages of one conversation."""
    if elements and _is_message(elements[0]) and "conversations" not in elements[0]:
        is_one = all(_is_message(element) and "conversations" not in element for element in elements)
        return [expected_of(0, elements) if is_one else 0]
    return [expected_of(position, element) for position, element in enumerate(elements)]


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and {"from", "value"} <= value.keys()
