"""Pairs of a request and its answer: Alpaca, prompts with completions, questions with answers, and preferences (DPO).

Sources: the README of Stanford Alpaca, and "Dataset formats" of Hugging Face TRL. A side is a text or a list of
messages.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from mimic.corpus.conversation import Message
from mimic_seed.formats.base import Element, LeftOut, Unreadable, list_of, text_of
from mimic_seed.formats.messages import messages_of

PAIRS: Final = (
    ("prompt", "chosen"),
    ("question", "chosen"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("query", "answer"),
    ("input", "output"),
)
"""Fields of the request and of the answer; the first pair that an element has counts."""
CONTEXTS: Final = ("input", "context")
"""Fields with a text that follows an instruction, after an empty line."""
FIELDS: Final = frozenset((*(field for pair in PAIRS for field in pair), *CONTEXTS, "system", "history", "rejected"))
SHAPE: Final = (
    '{"instruction", "input", "output"}, {"prompt", "completion"}, {"question", "answer"} or {"prompt", "chosen"}'
)
_WHERE: Final = "the element"


def matches(element: Element) -> bool:
    """True if an element has both fields of a pair, or a chosen list of messages, which repeats its prompt."""
    return _pair(element) is not None or isinstance(element.get("chosen"), list)


def messages(element: Element, left_out: LeftOut) -> Sequence[Message]:
    """The system prompt and earlier turns, the request, and the answer."""
    request, answer = _pair(element) or ("", "chosen")
    asked = _side(element[request], request, "user", left_out) if request else []
    answered = _side(element[answer], answer, "assistant", left_out)
    if asked and answered[: len(asked)] == asked:  # TRL's "implicit prompt"
        answered = answered[len(asked) :]
    if request == "instruction" and (context := _context(element)):
        asked = [Message("user", f"{asked[-1].value}\n\n{context}")]
    if "rejected" in element:
        left_out["rejected answers"] += 1
    return [*_before(element), *asked, *answered]


def _pair(element: Element) -> tuple[str, str] | None:
    return next((pair for pair in PAIRS if pair[0] in element and pair[1] in element), None)


def _side(value: Any, name: str, sender: str, left_out: LeftOut) -> list[Message]:
    if isinstance(value, list):
        return messages_of(value, left_out)
    return [Message(sender, text_of(value, name, _WHERE))]


def _context(element: Element) -> str:
    """The text that an instruction is about; empty if there is none."""
    field = next((field for field in CONTEXTS if element.get(field) is not None), None)
    return text_of(element[field], field, _WHERE) if field else ""


def _before(element: Element) -> Iterator[Message]:
    """The system prompt and the earlier turns, as pairs of texts."""
    if element.get("system"):
        yield Message("system", text_of(element["system"], "system", _WHERE))
    for turn in list_of(element.get("history") or [], "history"):
        match turn:
            case [asked, answered]:
                yield Message("user", text_of(asked, "history", _WHERE))
                yield Message("assistant", text_of(answered, "history", _WHERE))
            case _:
                raise Unreadable("`history` is not a list of pairs")
