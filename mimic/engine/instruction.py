"""The engine for messages that name their own answer, such as "Reply with exactly: PONG"."""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from mimic.corpus.ladder import EXACT
from mimic.engine.base import Answers, CompletionRequest, Engine, Prompt
from mimic.engine.retrieval import cut_answers
from mimic.errors import Miss

LONGEST: Final = 2_000
"""Greatest length of a message with an instruction, in characters."""
MAX_WORDS: Final = 8
"""Greatest number of words of a text without a colon or quotation marks around it."""
LONGEST_BEFORE: Final = 40
"""Characters before a verb that are searched for the start of its sentence."""
VERBS: Final = ("reply", "respond", "answer", "say", "output", "return", "print", "write", "repeat")
TO_SAY: Final = frozenset(("reply", "respond", "say", "repeat"))
"""Verbs whose object is the answer itself."""

_EXACTLY: Final = re.compile(r"\b(?:exactly|precisely|verbatim|literally|after\s+me)\b", re.IGNORECASE)
_ONLY: Final = re.compile(r"\b(?:only|just|simply|nothing\s+but)\b", re.IGNORECASE)
_OBJECT: Final = re.compile(
    r"\b(?:(?:the|this|these)\s+)?(?:(?:following|exact|single|one|literal)\s+){0,2}"
    r"(?:word|text|string|phrase|sentence|message|token|line)s?\b",
    re.IGNORECASE,
)
_ONE_WORD: Final = re.compile(r"\b(?P<kind>exact|single|one|literal)?\s*(?:word|token)$", re.IGNORECASE)
_BEFORE: Final = re.compile(
    rf"(?:[.!?]\s|\n)\s{{0,9}}(?:please,?\s{{1,9}})?(?P<only>(?:{_ONLY.pattern})\s{{1,9}})?\Z", re.IGNORECASE
)
_AFTER: Final = re.compile(
    rf"(?P<verb>{'|'.join(VERBS)})\b"
    rf"(?P<middle>(?:\s+(?:back|with|{_EXACTLY.pattern}|{_ONLY.pattern}|{_OBJECT.pattern}|the\s+following|this)\b){{0,6}})"
    r"(?P<colon>\s{0,3}:)?(?P<gap>\s{1,9})(?P<rest>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_QUOTED: Final = re.compile(r"\"([^\"\n]+)\"|'([^'\n]+)'|`([^`\n]+)`|“([^”\n]+)”|«([^»\n]+)»|「([^」\n]+)」")
_FENCED: Final = re.compile(r"```\w{0,20}\n(.*?)\n?```", re.DOTALL)
_NOTHING_ELSE: Final = re.compile(r"[\s,;.(-]{1,9}(?:and\s+)?nothing\s+(?:else|more)[.!)\s]{0,9}$", re.IGNORECASE)
_AFTER_QUOTED: Final = re.compile(
    r"[\s,;.!()-]{0,9}(?:(?:and\s+)?(?P<alone>nothing\s+(?:else|more)|only|exactly|verbatim|without\s+[\w\s]{1,40}))?"
    r"[\s.!)]{0,9}(?:$|\n|(?<=[.!]\s)[A-Z])",
    re.IGNORECASE,
)
_DESCRIPTION: Final = re.compile(
    r"(?:an?|the|this|that|these|those|your|my|it|its|in|as|at|by|to|on|for|from|with|if|when|what|who|why|how|which"
    r"|where|about|after|using|one|two|three|four|five|six|seven|eight|nine|ten|\d[\d.,]*\s+\w+|json|xml|yaml|html|sql"
    r"|csv|markdown|code|valid|plain|words?|yes,?\s+no)\b|.*\sor\s",
    re.IGNORECASE | re.DOTALL,
)
"""The start of a description of an answer, in contrast to the answer itself."""


class Instruction(msgspec.Struct, frozen=True):
    """A verb such as "reply", the words after it that make it strict, and the rest of the message."""

    verb: str
    middle: str
    has_colon: bool
    is_below: bool
    rest: str
    is_only: bool

    @property
    def is_exact(self) -> bool:
        """True if the instruction has a word such as "exactly"."""
        return _EXACTLY.search(self.middle) is not None

    @property
    def has_object(self) -> bool:
        """True if the instruction has words such as "the following text"."""
        return _OBJECT.search(self.middle) is not None

    @property
    def is_strict(self) -> bool:
        """True if the answer may have no other words."""
        return self.is_exact or self.is_only or (self.has_object and self.verb in TO_SAY)


class InstructionEngine(Engine):
    """Gives the text that a chat dictates, unless another engine has an exact match.

    A request that names a rung, or the form of its answer, dictates nothing.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Answer a prompt. Raises the errors of the other engine."""
        try:
            found = await self._engine.answer(prompt, request)
        except Miss:
            if (answers := await _dictated(prompt, request)) is None:
                raise
            return answers
        if found.rung in EXACT:
            return found
        return await _dictated(prompt, request) or found


async def _dictated(prompt: Prompt, request: CompletionRequest) -> Answers | None:
    if request.policy.is_named or request.answer_format.kind != "text" or (text := dictated_in(prompt)) is None:
        return None
    n = request.sampling.n
    return Answers(None, None, await cut_answers([text] * n, [None] * n, request.limits))


def dictated_in(prompt: Prompt) -> str | None:
    """Return the text that the last message of the user dictates, or else the last one of the system."""
    for roles in (("user",), ("system", "developer")):
        last = next((one.text for one in reversed(prompt.messages) if one.role in roles and one.text), "")
        if last and len(last) <= LONGEST and (text := dictated(last)) is not None:
            return text
    return None


def dictated(message: str) -> str | None:
    """Return the text that a message dictates as its answer; None without such an instruction."""
    found = _instruction(message)
    if found is None:
        return None
    quoted = _QUOTED.match(found.rest)
    if quoted and (after := _AFTER_QUOTED.match(found.rest, quoted.end())):
        is_strict = found.is_exact or found.is_only or found.has_object or found.has_colon or after["alone"]
        return str(quoted[quoted.lastindex or 0]) if is_strict else None
    text = _after_colon(found) if found.has_colon else _bare(found)
    is_description = text is not None and (found.is_only or not found.has_colon) and _DESCRIPTION.match(text)
    return None if is_description else text


def _instruction(message: str) -> Instruction | None:
    """The first sentence that begins with one of the verbs and has something after it."""
    lower = message.lower()
    if len(lower) != len(message):  # as of "İ"
        lower = message
    verbs = [verb for verb in VERBS if verb in lower]  # most messages have none
    for at in sorted(at for verb in verbs for at in _occurrences(verb, lower)) if verbs else ():
        before = _BEFORE.search(f"\n{message[:at]}"[-LONGEST_BEFORE:])
        if before and (found := _AFTER.match(message, at)):
            is_only = bool(before["only"] or _ONLY.search(found["middle"]))
            is_below = "\n" in found["gap"]
            return Instruction(
                found["verb"].lower(), found["middle"], bool(found["colon"]), is_below, found["rest"], is_only
            )
    return None


def _occurrences(word: str, text: str) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + 1)


def _after_colon(found: Instruction) -> str | None:
    """The rest of the line, or the fence or the paragraph below it."""
    if not found.is_strict:
        return None
    if fenced := _FENCED.match(found.rest):
        return fenced[1]
    return _NOTHING_ELSE.sub("", found.rest.partition("\n\n" if found.is_below else "\n")[0]).strip()


def _bare(found: Instruction) -> str | None:
    """The few words up to the end of the sentence: after a word such as "exactly", or a single one after "the word"."""
    sentence = re.split(r"(?<=[!?])\s|\.(?:\s|$)|\n", found.rest, maxsplit=1)[0]
    text = _NOTHING_ELSE.sub("", sentence).strip()
    one_word = _ONE_WORD.search(found.middle) if " " not in text else None
    is_strict = found.is_exact or (one_word and (found.is_only or one_word["kind"] or text != sentence.strip()))
    return text if is_strict and text and len(text.split()) <= MAX_WORDS else None
