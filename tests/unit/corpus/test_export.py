"""Export: whole conversations of a corpus in the formats of other programs, which seed the same corpus again."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic.corpus.conversation import Conversation, Message
from mimic.corpus.export import FORMATS, as_openai
from mimic.corpus.schemas import VERSIONS, Version
from mimic.corpus.stores import open_store
from mimic.corpus.stores.base import Store
from mimic.corpus.whole import conversations_of
from mimic.errors import CorpusReplaced, NotSeeded
from tests.support.corpora import SMALL, fill
from tests.support.reading import read

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SENDER = st.sampled_from(["user", "assistant", "system", "developer"])


async def exported(store: Store) -> list[dict[str, Any]]:
    """The corpus as a dump."""
    return [FORMATS["sharegpt"](conversation) async for conversation in conversations_of(store)]


@pytest.mark.anyio
@pytest.mark.parametrize("version", [None, *VERSIONS])
async def test_a_corpus_is_exported_as_it_was_seeded(tmp_path: Path, version: Version | None) -> None:
    """Each version holds all conversations, but v2 and v3 lack the ones without messages."""
    async with open_store(f"sqlite:///{tmp_path}/own.db") as store:
        with pytest.raises(NotSeeded):
            await exported(store)
        await fill(store, SMALL, tmp_path, [version] if version else VERSIONS)
        assert await exported(store) == [one for one in SMALL if one["conversations"] or version in (None, "v1")]


@pytest.mark.anyio
async def test_a_corpus_that_is_replaced_meanwhile_is_an_error(tmp_path: Path) -> None:
    """The export never mixes two corpora."""
    many = [{"id": str(n), "conversations": [{"from": "human", "value": "x"}]} for n in range(20)]
    async with open_store(f"sqlite:///{tmp_path}/own.db") as store:
        await fill(store, many, tmp_path)
        conversations = conversations_of(store)
        assert (await anext(conversations)).id == "0"
        await fill(store, many[1:], tmp_path)
        with pytest.raises(CorpusReplaced):
            async for _ in conversations:
                pass


def test_a_text_only_example_of_openai_is_exported_exactly() -> None:
    """Names of roles and texts stay as they were."""
    said = [{"role": role, "content": f"I am {role}"} for role in ("developer", "system", "user", "assistant")]
    [conversation] = read(json.dumps({"messages": said}))
    assert isinstance(conversation, Conversation)
    assert as_openai(conversation) == {"id": None, "messages": said}


def test_calls_and_results_have_ids_that_match() -> None:
    """Results answer the calls of the last message with calls, in their order."""
    calls = '[{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": "text"}]'
    conversation = Conversation(
        "7",
        [
            *(
                Message("human", "hi"),
                Message("function_call", calls),
                Message("tool", "1"),
                Message("observation", "2"),
            ),
            *(Message("function_call", "no JSON"), Message("Narrator", "x"), Message("GPT", "bye")),
        ],
    )
    assert as_openai(conversation)["messages"] == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                {"id": "call_1", "type": "custom", "custom": {"name": "g", "input": "text"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": "1"},
        {"role": "tool", "tool_call_id": "call_1", "content": "2"},
        {"role": "function_call", "content": "no JSON"},
        {"role": "Narrator", "content": "x"},
        {"role": "assistant", "content": "bye"},
    ]


ARGUMENTS = st.dictionaries(
    TEXT, st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
CALL = st.fixed_dictionaries({"name": TEXT, "arguments": ARGUMENTS.map(json.dumps)})
TURN = st.one_of(
    st.fixed_dictionaries({"role": SENDER, "content": TEXT}),
    st.fixed_dictionaries({"role": st.just("assistant"), "tool_calls": st.lists(CALL, min_size=1, max_size=2)}),
    st.fixed_dictionaries({"role": st.just("tool"), "content": TEXT}),
)


@given(st.lists(TURN, max_size=5))
def test_what_is_imported_from_openai_is_exported_and_imported_again(said: list[dict[str, Any]]) -> None:
    """Export and import give the same conversation, in both formats."""
    [conversation] = read(json.dumps({"id": "x", "messages": said}))
    assert isinstance(conversation, Conversation), conversation
    for exported in FORMATS.values():
        assert read(msgspec.json.encode(exported(conversation))) == [conversation]
