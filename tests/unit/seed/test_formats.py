"""Formats: each shape of a conversation is recognised by its fields, and read the same however its bytes are cut."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic.corpus.calls import CorpusCall, calls_in
from mimic.corpus.conversation import Conversation, Message
from mimic.corpus.manifest import Skipped
from mimic_seed.conversation_builder import DEEPEST_KEPT
from mimic_seed.file_reader import FileReader
from tests.support.reading import read

USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant", "content": "hello"}
HI = [Message("user", "hi"), Message("assistant", "hello")]


def left_out(*elements: Any) -> dict[str, int]:
    """The data that a file with these elements has and a corpus has not."""
    reader = FileReader()
    reader.feed(json.dumps(elements).encode())
    reader.close()
    return dict(reader.left_out)


def only(element: Any) -> Conversation | Skipped:
    """The single conversation of a file in an array and in JSON Lines, in any pieces."""
    as_lines, as_array = json.dumps(element), json.dumps([element])
    [found] = read(as_lines)
    for text in (as_lines, as_array):
        for step in (None, 1, 7):
            assert read(text, step) == [found]
    return found


def messages(element: Any) -> list[Message]:
    """The messages of an element that is read."""
    found = only(element)
    assert isinstance(found, Conversation), found
    return list(found.messages)


def reason(element: Any) -> str:
    """The reason for which an element is skipped."""
    found = only(element)
    assert isinstance(found, Skipped), found
    return found.reason


@pytest.mark.parametrize("field", ["conversations", "messages", "conversation", "items"])
def test_a_list_of_messages_is_read_under_any_of_its_names(field: str) -> None:
    """The messages may have the fields of ShareGPT, of OpenAI, or both; senders stay as they are."""
    said = [{"from": "Human", "value": "a"}, {"role": "user", "value": "b"}, {"from": "gpt", "content": "c"}, ASSISTANT]
    expected = [Message("Human", "a"), Message("user", "b"), Message("gpt", "c"), Message("assistant", "hello")]
    assert messages({field: said}) == expected
    assert messages({field: [{"role": "robot", "content": "beep"}]}) == [Message("robot", "beep")]


def test_tool_calls_and_results_become_messages_of_their_own() -> None:
    """The corpus finds the calls again: in old and new form, in parts, and with arguments as JSON, object or text."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": [1.5, "x"]}'}}
    said = [
        {"role": "assistant", "content": "Wait.", "tool_calls": [call, {"name": "g", "arguments": {"b": None}}]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "22"}]},
        {"role": "assistant", "content": None, "function_call": {"name": "h", "arguments": "no JSON"}},
        {"role": "function", "name": "h", "content": "23"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "k", "input": "{}"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "l", "input": {"c": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "24"}]},
    ]
    found = messages({"messages": said})
    assert [message.sender for message in found] == [
        *("assistant", "function_call", "observation", "function_call", "observation"),
        *("function_call", "function_call", "observation"),
    ]
    assert [call for message in found for call in calls_in(message)] == [
        CorpusCall("f", {"a": [1.5, "x"]}),
        CorpusCall("g", {"b": None}),
        CorpusCall("h", "no JSON"),
        CorpusCall("k", {}),  # a text that is JSON is read as such
        CorpusCall("l", {"c": 1}),
    ]
    assert [message.value for message in found if message.sender == "observation"] == ["22", "23", "24"]


def test_parts_are_one_text() -> None:
    """Texts are joined as in requests; other parts are counted, and a message without text stays."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "x" * 1000}}
    said = [
        {"role": "user", "content": ["a", {"type": "text", "text": "b"}, image, {"type": "input_text", "text": "c"}]},
        {"role": "user", "content": [image]},
        {"role": "assistant", "content": None, "refusal": "no", "weight": 0, "name": "X"},
    ]
    element = {"messages": said, "tools": [{"type": "function"}]}
    assert messages(element) == [Message("user", "abc"), Message("user", ""), Message("assistant", "no")]
    assert left_out(element) == {
        "images": 2,
        "weights of messages": 1,
        "names of speakers": 1,
        "definitions of tools": 1,
    }


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ({"instruction": "hi", "input": "", "output": "hello"}, HI),
        ({"instruction": "hi", "output": "hello"}, HI),
        ({"instruction": "hi", "input": None, "output": "hello"}, HI),
        ({"instruction": "hi", "context": "", "response": "hello"}, HI),
        ({"prompt": "hi", "completion": "hello"}, HI),
        ({"prompt": "hi", "response": "hello"}, HI),
        ({"question": "hi", "answer": "hello"}, HI),
        ({"query": "hi", "answer": "hello"}, HI),
        ({"input": "hi", "output": "hello"}, HI),
        ({"prompt": "hi", "chosen": "hello", "rejected": "go away"}, HI),
        ({"prompt": [USER], "chosen": [ASSISTANT], "rejected": [ASSISTANT]}, HI),
        ({"prompt": "hi", "chosen": [USER, ASSISTANT]}, HI),
        ({"chosen": [USER, ASSISTANT], "rejected": [USER, ASSISTANT]}, HI),
        ({"prompt": [USER], "completion": [ASSISTANT]}, HI),
        ([USER, ASSISTANT], HI),
    ],
)
def test_pairs_are_read(element: Any, expected: list[Message]) -> None:
    """Each pair is a message of the user and one of the assistant."""
    assert messages(element) == expected


def test_an_instruction_has_its_input_its_system_prompt_and_its_history() -> None:
    """The input follows the instruction after an empty line, as in Alpaca's template."""
    element = {
        "instruction": "Sum up.",
        "input": "A text.",
        "output": "Short.",
        "system": "Be brief.",
        "history": [["hi", "hello"]],
        "id": 7,
    }
    assert only(element) == Conversation(
        "7",
        [
            *(Message("system", "Be brief."), *HI),
            *(Message("user", "Sum up.\n\nA text."), Message("assistant", "Short.")),
        ],
    )


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ({"instruction": "hi", "output": None}, "`output` is not a string"),
        ({"question": 1, "answer": "2"}, "`question` is not a string"),
        ({"question": "1", "answer": {"text": "2"}}, "`answer` is not a string"),
        ({"question": "1", "answer": ["2"]}, "a message is not an object"),
        ({"instruction": "hi", "output": "x", "history": [["a"]]}, "`history` is not a list of pairs"),
        ({"chosen": "\n\nHuman: hi\n\nAssistant: hello"}, "without messages, but with `chosen`"),
        ({"messages": [{"role": "user", "content": None}]}, "`content` is not a string"),
        ({"messages": [{"role": "user", "content": 5}]}, "`content` is not a string"),
        ({"messages": [{"role": None, "content": "x"}]}, "`role` is not a string"),
        ({"messages": [{"role": "user", "content": [5]}]}, "a content part is not an object"),
        ({"messages": [{"role": "user", "content": [{"text": None}]}]}, "`text` is not a string"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}, "a broken tool call"),
        ({"messages": [{"role": "assistant", "tool_calls": [5]}]}, "a broken tool call"),
        ({"messages": [{"role": "assistant", "tool_calls": {"a": 1}}]}, "a broken tool call"),
        ({"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": 5}}]}, "a broken tool call"),
        ({"messages": "hi"}, "`messages` is not an array"),
    ],
)
def test_odd_values_skip_their_conversation(element: Any, expected: str) -> None:
    """Nulls and numbers in the place of texts are never guessed."""
    assert reason(element).startswith(expected)


def test_a_list_of_messages_is_one_conversation_and_a_list_of_lists_several() -> None:
    """In an array, pretty-printed or not, and in JSON Lines, with any split."""
    one = json.dumps([USER, ASSISTANT])
    for text in (one, json.dumps([USER, ASSISTANT], indent=1), f"\ufeff{one}\r\n"):
        for step in (None, 1, 5):
            assert read(text, step) == [Conversation(None, HI)]
    for text in (f"[{one}, {one}]", f"{one}\n{one}", f"{one}\r\n{one}\r\n"):
        for step in (None, 1, 5):
            assert read(text, step) == [Conversation(None, HI)] * 2


def test_a_list_of_messages_and_other_elements_is_skipped() -> None:
    """Nothing is guessed, also if the list is too large."""
    [skipped] = read(json.dumps([USER, {"messages": []}, ASSISTANT]))
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "a list of messages with other elements"
    [first, second] = read(json.dumps([{"messages": []}, USER]))
    assert first == Conversation(None, [])
    assert isinstance(second, Skipped)
    assert second.reason == "a message outside of a conversation"
    for field, expected in ((5, "`conversations` is not an array"), ([], "")):
        [element] = read(json.dumps([{**USER, "conversations": field}]))
        assert getattr(element, "reason", "") == expected
    [large] = read(json.dumps([{"role": "user", "content": "x" * 1_000_000}] * 18))
    assert isinstance(large, Skipped)
    assert large.reason == "larger than 16 MiB"


def node(parent: str | None, role: str | None = None, *parts: Any, **fields: Any) -> dict[str, Any]:
    """A node of ChatGPT's export."""
    if role is None:
        return {"id": "x", "message": None, "parent": parent, "children": []}
    content = fields.pop("content", {"content_type": "text", "parts": list(parts)})
    message = {"author": {"role": role, "name": None, "metadata": {}}, "content": content, "weight": 1.0, **fields}
    return {"id": "x", "message": message | {"metadata": {"a": [{"b": 1}]}}, "parent": parent, "children": ["y"]}


def test_an_export_of_chatgpt_gives_the_branch_that_was_taken() -> None:
    """Other branches, images, reasoning and custom instructions are counted; calls of its tools are calls."""
    code = {"content_type": "code", "language": "unknown", "text": "print(1)"}
    mapping = {
        "root": node(None),
        "system": node("root", "system", ""),
        "about": node("system", "user", content={"content_type": "user_editable_context", "user_profile": "x"}),
        "a": node("about", "user", "hi", {"content_type": "image_asset_pointer", "asset_pointer": "file://x"}),
        "b": node("a", "assistant", "go away"),
        "c": node("a", "assistant", content={"content_type": "thoughts", "thoughts": [{"summary": "s"}]}),
        "d": node("c", "assistant", content=code, recipient="python"),
        "e": node("d", "tool", content={"content_type": "execution_output", "text": "1"}),
        "f": node("e", "assistant", "he", "llo"),
    }
    element = {"title": "t", "mapping": mapping, "current_node": "f", "conversation_id": "id"}
    assert only(element) == Conversation(
        "id",
        [
            Message("user", "hi"),
            Message("function_call", '{"name": "python", "arguments": "print(1)"}'),
            Message("observation", "1"),
            Message("assistant", "hello"),
        ],
    )
    assert left_out(element) == {
        "images": 1,
        "messages of side branches": 1,
        "reasoning texts": 1,
        "custom instructions": 1,
    }


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        (
            {"mapping": {"a": node("b", "user", "x"), "b": node("a", "user", "y")}, "current_node": "a"},
            "a tree of mess",
        ),
        ({"mapping": {"a": node("a", "user", "x")}, "current_node": "a"}, "a tree of messages with a cycle"),
        ({"mapping": {"a": node(None), "b": node("a"), "c": node("a")}}, "a tree of messages without its current one"),
        (
            {"mapping": {"a": node(None), "b": node("a"), "c": node("a")}, "current_node": 1},
            "a tree of messages without",
        ),
        ({"mapping": {}}, "a tree of messages without its current one"),
        ({"mapping": {"a": 5}}, "a node is not an object"),
        ({"mapping": {"a": []}}, "a node is not an object"),
        ({"mapping": {"a": {"message": {"author": 1}}}}, "a message without `author` or `content`"),
        ({"mapping": {"a": {"message": 1}}}, "a message without `author` or `content`"),
        ({"mapping": {"a": node(None, "user", None)}}, "a content part is not an object"),
        ({"mapping": []}, "without messages, but with `mapping`"),
    ],
)
def test_a_broken_tree_is_skipped(element: Any, expected: str) -> None:
    """A cycle ends, and a branch is never guessed."""
    assert reason(element).startswith(expected)


def test_a_tree_without_branches_needs_no_current_node() -> None:
    """The only leaf of the tree is the end. A node may name a parent that is missing."""
    assert messages({"mapping": {"b": node("a", "assistant", "hello"), "a": node("x", "user", "hi")}}) == HI


def test_a_tree_may_be_larger_than_a_conversation() -> None:
    """Side branches of 18 MB are counted; a tree of 70 MB is skipped."""
    for count, is_read in ((18, True), (70, False)):
        aside = {f"s{n}": node("a", "assistant", "x" * 1_000_000) for n in range(count)}
        mapping = {"a": node(None, "user", "hi"), **aside, "b": node("a", "assistant", "hello")}
        [found] = read(json.dumps([{"mapping": mapping, "current_node": "b", "id": "big"}]))
        if is_read:
            assert found == Conversation("big", HI)
        else:
            assert isinstance(found, Skipped)
            assert found.reason == "larger than 16 MiB"


def test_an_export_of_claude_is_read() -> None:
    """Parts come before the old text field; attachments and thinking are counted."""
    said: Any = [
        {"uuid": "1", "sender": "human", "text": "", "content": [{"type": "text", "text": "hi"}], "attachments": []},
        {"uuid": "2", "sender": "assistant", "text": "hello", "content": [], "files": [{"file_name": "a"}]},
        {"uuid": "3", "sender": "human", "text": "old", "attachments": [{"extracted_content": "x"}]},
        {
            "uuid": "4",
            "sender": "assistant",
            "text": "all",
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": "Wait."},
                {"type": "tool_use", "name": "search", "input": {"q": "x"}},
                {"type": "tool_result", "name": "search", "content": [{"type": "text", "text": "found"}]},
            ],
        },
    ]
    element = {"uuid": "u", "name": "n", "account": {"uuid": "a"}, "chat_messages": said}
    assert only(element) == Conversation(
        "u",
        [
            *(Message("human", "hi"), Message("assistant", "hello"), Message("human", "old")),
            Message("assistant", "Wait."),
            Message("function_call", '{"name": "search", "arguments": {"q": "x"}}'),
            Message("observation", "found"),
        ],
    )
    assert left_out(element) == {"attachments": 2, "reasoning texts": 1}
    parents: list[Any] = [{"parent_message_uuid": parent} for parent in (None, "1", "1")]
    branched = [one | parent for one, parent in zip(said, parents, strict=False)]
    taken = {"chat_messages": branched, "current_leaf_message_uuid": "2"}
    assert messages(taken) == [Message("human", "hi"), Message("assistant", "hello")]
    assert left_out(taken) == {"messages of side branches": 1, "attachments": 1}


def test_deep_and_large_values_are_bounded() -> None:
    """Arguments nested too deeply are a broken call; an image of 20 MB is only counted."""
    deep: Any = 1
    for _ in range(DEEPEST_KEPT + 1):
        deep = [deep]
    call = {"function": {"name": "f", "arguments": {"a": deep}}}
    assert reason({"messages": [{"role": "assistant", "tool_calls": [call]}]}) == "a broken tool call"
    image = {"type": "image_url", "image_url": {"url": "x" * 20_000_000}}
    large = {"id": "large", "messages": [{"role": "user", "content": ["x" * 9_000_000] * 2 + [[]]}]}
    after = read(json.dumps([large, 5, {"id": "c"}]))
    assert [one.id for one in after] == ["large", None, "c"]
    assert [getattr(one, "reason", "") for one in after] == ["larger than 16 MiB", "not an object", "without messages"]
    [found] = read(json.dumps([{"messages": [{"role": "user", "content": ["hi", image]}]}]))
    assert found == Conversation(None, [Message("user", "hi")])


def test_half_a_surrogate_pair_skips_a_conversation_of_any_format() -> None:
    """Half a pair in a field that is not kept changes nothing."""
    lone = r'"\ud800"'
    for text in (
        f'{{"prompt": {lone}, "completion": "x"}}',
        f'{{"messages": [{{"role": {lone}, "content": "x"}}]}}',
        f'{{"messages": [{{"role": "user", "content": [{lone}]}}]}}',
        f'{{"messages": [{{"role": "user", "content": [{{"text": {lone}}}]}}]}}',
        f'{{"messages": [{{"role": "assistant", "tool_calls": [{{"name": "f", "arguments": {{"a": {lone}}}}}]}}]}}',
        f'{{"messages": [{{"role": "assistant", "tool_calls": [{{"name": "f", "arguments": {lone}}}]}}]}}',
    ):
        for step in (None, 1, 3):
            [found] = read(text, step)
            assert isinstance(found, Skipped)
            assert found.reason == "lone surrogate"
    [kept] = read(f'{{"prompt": "hi", "completion": "hello", "x": {lone}, "uuid": {lone}}}')
    assert kept == Conversation(None, HI)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ROLES = st.sampled_from(["user", "assistant", "system"])
TURN = st.tuples(ROLES, TEXT)


def _shapes(said: list[tuple[str, str]], kind: int) -> Any:
    as_openai = [{"role": role, "content": text} for role, text in said]
    as_parts = [{"content": [{"type": "text", "text": text}], "role": role} for role, text in said]
    nodes = {str(n): node(str(n - 1), role, text) for n, (role, text) in enumerate(said)}
    return (
        {"messages": as_openai},
        {"x": [{}], "conversations": [{"value": text, "from": role} for role, text in said]},
        {"items": as_parts, "title": None},
        as_openai,
        {"chat_messages": [{"sender": role, "text": text} for role, text in said]},
        {"mapping": nodes, "current_node": str(len(said) - 1)},
    )[kind]


@given(
    st.lists(st.tuples(st.lists(TURN, min_size=1, max_size=4), st.integers(0, 5)), min_size=1, max_size=4),
    st.integers(1, 30),
    st.booleans(),
)
def test_any_mixture_of_formats_is_read_however_it_is_cut(
    talks: list[tuple[list[tuple[str, str]], int]], step: int, as_lines: bool
) -> None:
    """A file may mix formats; each element counts by itself."""
    elements = [_shapes(said, kind) for said, kind in talks]
    text = "\n".join(map(json.dumps, elements)) if as_lines and isinstance(elements[0], dict) else json.dumps(elements)
    expected = [
        Conversation(None, [Message(*turn) for turn in said if kind != 5 or turn != ("system", "")])
        for said, kind in talks
    ]
    assert read(text, step) == expected
