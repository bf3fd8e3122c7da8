"""Long chats in several parts, joined again."""

import random
from itertools import pairwise

from mimic.corpus.conversation import Conversation, Message
from mimic_seed.joining import MOST_CHARACTERS, Joiner


def part(name: str | None, *texts: str) -> Conversation:
    """A conversation of some texts."""
    return Conversation(name, [Message("human" if text.endswith("?") else "gpt", text) for text in texts])


def joined(*conversations: Conversation, most_characters: int = MOST_CHARACTERS) -> list[tuple[str | None, list[str]]]:
    """The joined conversations: ids and texts."""
    joiner = Joiner(most_characters)
    complete = [one for conversation in conversations for one in joiner.add(conversation)] + joiner.finish()
    assert joiner.finish() == []
    assert joiner.joined == len(conversations) - len(complete)
    return [(one.id, [message.value for message in one.messages]) for one in complete]


def test_a_part_follows_where_the_one_before_it_ends() -> None:
    """The number of a part is the index of its first message."""
    assert joined(part("a_0", "1?", "2"), part("a_2", "3?", "4"), part("a_4", "5?")) == [
        ("a_0", ["1?", "2", "3?", "4", "5?"])
    ]
    assert joined(part("a_3", "2"), part("a_4", "3?", "4")) == [("a_3", ["2", "3?", "4"])]


def test_parts_may_share_one_message() -> None:
    """A last message that equals the next part's first one is kept once."""
    assert joined(part("a_0", "1?", "2", "3?"), part("a_2", "3?", "4")) == [("a_0", ["1?", "2", "3?", "4"])]
    apart = [part("a_0", "1?", "2", "3?"), part("a_2", "other?", "4")]
    assert joined(*apart) == [("a_0", ["1?", "2", "3?"]), ("a_2", ["other?", "4"])]


def test_a_gap_keeps_parts_apart() -> None:
    """Parts with a gap keep their order."""
    assert joined(part("a_7", "8"), part("a_0", "1?", "2"), part("a_2", "3?"), part("a_8", "9?")) == [
        ("a_0", ["1?", "2", "3?"]),
        ("a_7", ["8", "9?"]),
    ]


def test_parts_are_joined_in_whatever_order_the_dump_has_them() -> None:
    """Neighbouring parts are joined in any order; a dump sorted by id as text has 10 before 2."""
    parts = [part(f"a_{number}", f"{number}") for number in range(12)]
    random.Random(1).shuffle(parts)
    assert joined(*parts) == [("a_0", [str(number) for number in range(12)])]


def test_other_chats_and_other_ids_stay_as_they_are() -> None:
    """Later parts of a chat, conversations without id, and ids of another form are not joined."""
    given = [
        part("a_0", "1?", "2"),
        part("b_2", "x"),
        part("a_2", "3?"),
        part(None, "y"),
        part("c", "z"),
        part("d_x", "w"),
        part("_1", "v"),
        part("a_2", "u"),
    ]
    assert joined(*given) == [(one.id, [message.value for message in one.messages]) for one in given]


def test_the_same_part_twice_is_not_joined_to_itself() -> None:
    """Both duplicates are kept."""
    assert joined(part("a_0", "1?", "2"), part("a_0", "1?", "2")) == [("a_0", ["1?", "2"]), ("a_0", ["1?", "2"])]
    assert joined(part("a_0"), part("a_0", "1?")) == [("a_0", ["1?"])]


def test_no_conversation_gets_larger_than_it_may_be() -> None:
    """Parts that would be over 16 MiB together stay apart."""
    megabytes = "x" * 9_000_000
    assert [name for name, _ in joined(part("a_0", megabytes), part("a_1", megabytes))] == ["a_0", "a_1"]


def test_little_is_held() -> None:
    """An endless chat is yielded in between, with every message in its place."""
    given = [part(f"a_{number}", f"{number:04}") for number in range(200)]
    found = joined(*given, most_characters=100)
    assert 1 < len(found) < 200
    texts = [text for _, said in found for text in said]
    assert all(one < other for one, other in pairwise(texts))
    assert len(texts) == 200
