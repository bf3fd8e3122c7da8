"""Parts of prompts that wrap the user's text: by templates, and by the form of the prompt."""

import time

import pytest

from mimic.corpus.conversation import Message
from mimic.engine.matching.parts import LONGEST, PromptPart, PromptTemplate, parts_of

LIST = "How do I reverse a linked list in Python?"
RULES = "You are a careful assistant. " * 20
RAG = "Context:\n{context}\n\nQuestion: {text}\nHelpful Answer:"


def texts(prompt: str, *templates: str, sender: str = "human") -> list[str]:
    """The texts of the parts of a prompt."""
    return [part.message.value for part in parts_of(Message(sender, prompt), templates)]


@pytest.mark.parametrize(
    "prompt",
    [
        f"{RULES}\n\n{LIST}",
        f"{RULES}\n \n{LIST}  \n",
        f"The question is: {LIST}",
        f"{RULES}\nQuestion: {LIST}\nAnswer:",
        f"{RULES}\r\n**Question:** {LIST}\r\n\r\n**Helpful Answer:**",
        f"Question:\n{LIST}\nThought:\nAction:",
        f"Frage\uff1a{LIST}",
        f'Answer the question "{LIST}" in one sentence.',
        f"Answer “{LIST}” and say no more.",
        f"Répondez à « {LIST} » en une phrase.",
        f"「{LIST}」に答えてください。",
        f"Answer this.\n```\n{LIST}\n```\nBe short.",
        f"Answer this.\n```text\n{LIST}\n```\nBe short.",
        f'Answer this. """{LIST}""" Be short.',
        f"[[ ## question ## ]]\n{LIST}\n\nRespond with the field `[[ ## answer ## ]]`.",
        f"<rules>{RULES}</rules>\n<question>\n{LIST}\n</question>\nAnswer in one sentence.",
    ],
)
def test_the_users_text_is_a_part(prompt: str) -> None:
    """The text is found below a mark, in a fence, tags or quotes, after the last colon, and in the last paragraph."""
    assert LIST in texts(prompt)
    assert texts(prompt, sender="gpt") == []


@pytest.mark.parametrize(
    "prompt", [LIST, f"{LIST}\n", "", "ok", "Say: ok", "It is 10:30, see https://a.example/x", '""']
)
def test_a_plain_message_has_no_parts(prompt: str) -> None:
    """A message without a form has no parts; a part of one or two words says too little."""
    assert texts(prompt) == []


def test_the_form_needs_a_better_match_than_a_template() -> None:
    """A part by its form needs a higher score, and a short one an equal message; a hole needs the usual score."""
    [long] = parts_of(Message("human", f"The question is: {LIST}"))
    [short] = parts_of(Message("human", "The question is: What is Docker?"))
    [hole] = parts_of(Message("human", "The question is: Hi"), ["The question is: {text}"])
    assert [part.least(0.5) for part in (long, short, hole)] == [0.75, 1, 0.5]
    assert hole == PromptPart(Message("human", "Hi"), 0)


@pytest.mark.parametrize(
    ("template", "prompt", "hole"),
    [
        ("The question is: {text}", "The question is: Hi\n", "Hi"),
        ("{text}\nBe short.", "Hi\r\nBe short.", "Hi"),
        ("Say {text} again", "Say again", None),
        ("The question is: {text}", "A question is: Hi", None),
        (RAG, "Context:\nQuestion: no\n\nQuestion: yes\n\nQuestion: Hi\nHelpful Answer:", "Hi"),
        (RAG, "Context:\nnone\n\nHelpful Answer:", None),
        ("A {a} b {b} c {text} d {d} e {e} f", "A 1 b 2 c Hi d 3 e 4 f", "Hi"),
        ("A {a} b {b} c {text} d {d} e {e} f", "A 1 c Hi d 3 e 4 f", None),
        ("A {a} b {b} c {text} d {d} e {e} f", "A 1 b 2 c Hi d 3 4 f", None),
        ('Return {"answer": 1} to {text}', 'Return {"answer": 1} to me', "me"),
    ],
)
def test_a_template_has_the_text_in_its_hole(template: str, prompt: str, hole: str | None) -> None:
    """The hole is the part alone; other names in braces stand for any text."""
    assert PromptTemplate.parse(template).hole(prompt.strip().replace("\r\n", "\n")) == hole
    if hole:
        assert texts(prompt, "Another {text} template", template) == [hole]


@pytest.mark.parametrize("template", ["", "{text}", "no hole", "{text} and {text}", "{ text }"])
def test_a_template_has_one_hole_and_text_beside_it(template: str) -> None:
    """Other templates are errors."""
    with pytest.raises(ValueError, match=r"expected \{text\} once in a template"):
        PromptTemplate.parse(template)


def test_hostile_prompts_take_no_time() -> None:
    """The time grows with the length of a prompt, not with its square; very long prompts have no parts."""
    began = time.perf_counter()
    for piece in ('"', "“", "«", "<a>", "</a>", "```", ": ", "\n\n", ":*", "a b {text}", "A: \n", "'''", '""" "'):
        texts(piece * (LONGEST // len(piece)), RAG, "a {a} b {text} a {b} b")
    assert time.perf_counter() - began < 5
    assert texts("x y z\n\n" * LONGEST) == []
