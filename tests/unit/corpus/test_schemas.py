"""The three document shapes, field by field."""

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic.corpus.conversation import Conversation, Message
from mimic.corpus.schemas import SCHEMAS, VERSIONS, digest
from mimic.corpus.sizes import LARGEST_DOCUMENT, nested_size

TALK = Conversation("xfDDcAM_3", [Message("human", "hi"), Message("gpt", "hello"), Message("human", "bye")])
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
MESSAGE = st.builds(Message, TEXT, TEXT)


def test_v1_is_the_conversation_as_in_the_dump() -> None:
    """v1 has one document per conversation, with its messages nested."""
    assert list(SCHEMAS["v1"].documents(TALK)) == [
        {
            "externalId": "xfDDcAM_3",
            "conversations": [
                {"from": "human", "value": "hi"},
                {"from": "gpt", "value": "hello"},
                {"from": "human", "value": "bye"},
            ],
        }
    ]


def test_v2_is_a_document_per_message_with_the_next() -> None:
    """The last message has no next one, and so no digest to be found by."""
    first, second, last = SCHEMAS["v2"].documents(TALK)
    assert first == {
        "externalId": "xfDDcAM_3",
        "messageIndex": 0,
        "from": "human",
        "value": "hi",
        "nextMessageType": "gpt",
        "nextMessageValue": "hello",
        "messageDigest": digest(Message("human", "hi")),
    }
    assert second["nextMessageValue"] == "bye"
    assert (last["nextMessageType"], last["nextMessageValue"]) == (None, None)
    assert "messageDigest" not in last


def test_v3_is_v2_with_the_previous() -> None:
    """The first message has no previous one, and so no pair."""
    first, second, last = SCHEMAS["v3"].documents(TALK)
    v2 = list(SCHEMAS["v2"].documents(TALK))
    assert first == {**v2[0], "prevMessageType": None, "prevMessageValue": None}
    assert second == {
        **v2[1],
        "prevMessageType": "human",
        "prevMessageValue": "hi",
        "pairDigest": digest(Message("human", "hi"), Message("gpt", "hello")),
    }
    assert last == {**v2[2], "prevMessageType": "gpt", "prevMessageValue": "hello"}


@pytest.mark.parametrize("version", VERSIONS)
def test_documents_have_no_fields_but_the_schemas(version: str) -> None:
    """Documents have exactly the fields that stores make columns and indexes of."""
    schema = SCHEMAS[version]  # type: ignore[index]
    assert {field for document in schema.documents(TALK) for field in document} == set(schema.fields)


def test_digests_distinguish_role_and_text() -> None:
    """A move between role, text and neighbour changes the digest; another sender of the same role does not."""
    messages = [Message("a", "bc"), Message("ab", "c"), Message("", "abc"), Message("a", "1:2:b"), Message("a:1", ":")]
    assert len({digest(message) for message in messages}) == len(messages)
    assert digest(messages[0], messages[1]) != digest(messages[1], messages[0])
    assert all(-(2**63) <= digest(message) < 2**63 for message in messages)
    assert digest(Message("human", "hi")) == digest(Message("user", "hi")) != digest(Message("gpt", "hi"))
    assert digest(Message("gpt", "hi")) == digest(Message("bard", "hi"))


@given(st.builds(Conversation, st.none() | TEXT, st.lists(MESSAGE, max_size=12)))
def test_the_size_of_a_v1_document_is_exact(conversation: Conversation) -> None:
    """The computed size is that of the BSON encoding."""
    [document] = SCHEMAS["v1"].documents(conversation)
    if any("\0" in key for key in document):
        return
    assert nested_size(conversation) == len(bson.encode({"_id": bson.Int64(2**40), **document}))


@pytest.mark.parametrize("lengths", [(1,), (1, 0), (0, 1, 0), (1, 1, 1), (1, 1, 1, 1)])
def test_what_fits_as_v1_fits_in_every_version(lengths: tuple[int, ...]) -> None:
    """A conversation just under the limit makes no document over MongoDB's 16 MiB."""
    share = LARGEST_DOCUMENT // sum(lengths) - 400
    talk = Conversation("x" * 50, [Message("human", "x" * share * length) for length in lengths])
    assert nested_size(talk) <= LARGEST_DOCUMENT
    for version in VERSIONS:
        for document in SCHEMAS[version].documents(talk):
            assert len(bson.encode({"_id": bson.Int64(2**40), **document})) <= 16 * 1024 * 1024
