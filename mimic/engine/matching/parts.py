"""Parts of a prompt that an application wrapped around the user's text. Pure.

A template of the settings gives the part exactly: ``{text}`` is the place of the user's text, and any other ``{name}``
stands for any text. Without a template that fits, parts are found by the form of the prompt.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

import msgspec

from mimic.corpus.conversation import Message, role_of
from mimic.corpus.similar.similarity import terms

LONGEST: Final = 100_000
"""Characters of a message up to which parts are sought."""
LEAST_TERMS: Final = 3
"""Words of a part found by its form. A shorter part, such as "ok", says too little to be sought alone."""
LEAST_SIMILAR_TERMS: Final = 5
"""Words of a part found by its form that a similar message may answer. A shorter part needs an equal message."""
MAX_LABELS: Final = 3
"""Labels at the end of a prompt to drop, such as "Answer:"."""

HOLE: Final = "{text}"
_ANY: Final = re.compile(r"\{[A-Za-z_]\w*\}")
_PARAGRAPH_END: Final = re.compile(r"\n[ \t]*\n")
_COLON: Final = re.compile(r":\**(?=\s)|\uff1a")
_LABEL: Final = re.compile(r"[^\n:\uff1a]{1,40}[:\uff1a]\**")
_INFO: Final = re.compile(r"[\w+#.-]{0,20}[ \t]*\n")
_TAG: Final = re.compile(r"</([A-Za-z][\w-]{0,60})>")
_QUOTED: Final = re.compile(
    r"(?<!\w)\"([^\"]+)\"(?!\w)"
    r"|\u201c([^\u201c\u201d]+)\u201d"
    r"|\u201e([^\u201e\u201c]+)\u201c"
    r"|\u00ab([^\u00ab\u00bb]+)\u00bb"
    r"|\u300c([^\u300c\u300d]+)\u300d"
    r"|\u300e([^\u300e\u300f]+)\u300f"
)
_MARKED: Final = re.compile(r"^\[\[ ## \w{1,60} ## \]\]\n(.+)", re.MULTILINE)
_FENCES: Final = ("```", '"""', "'''")

Literals: TypeAlias = tuple[str, ...]


class PromptPart(msgspec.Struct, frozen=True):
    """A part of a message, as a message, and its strictness, from 0 to 1.

    The form of a prompt may mislead: the last paragraph is often a remark about the others. So the least score of such
    a part is higher than that of a whole message.
    """

    message: Message
    strictness: float

    def least(self, min_score: float) -> float:
        """The least score of a nearest message, for a least score of whole messages."""
        return min_score + self.strictness * (1 - min_score)


class PromptTemplate(msgspec.Struct, frozen=True):
    """The literal texts of a template before its hole and after it; between two of them any text may stand."""

    before: Literals
    after: Literals

    @classmethod
    def parse(cls, template: str) -> "PromptTemplate":
        """Raises ValueError unless the template has the hole ``{text}`` once, and text beside it."""
        before, hole, after = template.strip().replace("\r\n", "\n").partition(HOLE)
        if not hole or HOLE in after or not (before or after):
            raise ValueError(f"expected {HOLE} once in a template, with text beside it, not {template!r}")
        return cls(tuple(_ANY.split(before)), tuple(_ANY.split(after)))

    def hole(self, prompt: str) -> str | None:
        """The text in the hole; None for a prompt that the template does not fit.

        Text before the hole is matched at its last place in the prompt, and text after it at its first place.
        """
        start = self._start(prompt)
        end = None if start is None else self._end(prompt, start)
        return None if end is None else prompt[start:end].strip()

    def _start(self, prompt: str) -> int | None:
        first, *rest = self.before
        if not prompt.startswith(first):
            return None
        at = len(first)
        for literal in rest[:-1]:
            if (at := _end_of(literal, prompt.find(literal, at))) < 0:
                return None
        if rest and (at := _end_of(rest[-1], prompt.rfind(rest[-1], at))) < 0:
            return None
        return at

    def _end(self, prompt: str, start: int) -> int | None:
        last = len(prompt) - len(self.after[-1])
        if last < start or not prompt.endswith(self.after[-1]):
            return None
        if len(self.after) == 1:
            return last
        end = at = prompt.find(self.after[0], start, last)
        for literal in self.after[:-1]:
            if at < 0 or (at := prompt.find(literal, at, last)) < 0:
                return None
            at += len(literal)
        return end


def parts_of(message: Message, templates: Sequence[str] = ()) -> list[PromptPart]:
    """The parts of a user's message to seek, most specific first; empty for a message without parts.

    If a template fits, its hole is the only part. Otherwise the parts are the first field between marks, the last
    fenced text, the longest quoted text, the text after the last colon, and the last paragraph. A label at the end,
    such as "Answer:", is dropped.
    """
    text = message.value.strip().replace("\r\n", "\n")
    if len(text) > LONGEST or role_of(message.sender) != "user":
        return []
    for template in templates:
        hole = _parsed(template).hole(text)
        if hole:
            return [PromptPart(Message(message.sender, hole), 0.0)]
    unlabelled = _without_labels(text)
    found = [_marked(text), _fenced(text), _quoted(text), _after_colon(unlabelled), _last_paragraph(unlabelled)]
    distinct = {part.strip(): len(terms(part)) for part in found if part}
    return [
        PromptPart(Message(message.sender, part), 0.5 if count >= LEAST_SIMILAR_TERMS else 1.0)
        for part, count in distinct.items()
        if part != text and count >= LEAST_TERMS
    ]


_parsed: Final = lru_cache(maxsize=1024)(PromptTemplate.parse)


def _end_of(literal: str, at: int) -> int:
    return at if at < 0 else at + len(literal)


def _without_labels(text: str) -> str:
    """The text without short last lines that end with a colon."""
    for _ in range(MAX_LABELS):
        before, newline, last = text.rpartition("\n")
        if not newline or not _LABEL.fullmatch(last.strip()):
            break
        text = before.rstrip()
    return text


def _last_paragraph(text: str) -> str | None:
    ends = [match.end() for match in _PARAGRAPH_END.finditer(text)]
    return text[ends[-1] :] if ends else None


def _after_colon(text: str) -> str | None:
    ends = [match.end() for match in _COLON.finditer(text)]
    return text[ends[-1] :] if ends else None


def _quoted(text: str) -> str | None:
    quoted = [next(filter(None, match.groups())) for match in _QUOTED.finditer(text)]
    return max(quoted, key=len, default=None)


def _marked(text: str) -> str | None:
    """The first field in the form of DSPy: a line below ``[[ ## question ## ]]``."""
    found = _MARKED.search(text)
    return found[1] if found else None


def _fenced(text: str) -> str | None:
    """The last text in a fence: three backticks, three quotes, or tags such as ``<question>``."""
    found = list(_in_fences(text))
    return max(found)[1] if found else None


def _in_fences(text: str) -> Iterator[tuple[int, str]]:
    """The start and the text of the last fence of each kind."""
    for fence in _FENCES:
        pieces = text.split(fence)
        if len(pieces) > 2:  # noqa: PLR2004 - a text before, in and after a fence
            number = (len(pieces) - 1) // 2 * 2 - 1
            start = len(fence.join(pieces[:number]))
            yield start, _INFO.sub("", pieces[number], count=1) if _INFO.match(pieces[number]) else pieces[number]
    closings = list(_TAG.finditer(text))
    if closings:
        opening = f"<{closings[-1][1]}>"
        start = text.rfind(opening, 0, closings[-1].start())
        if start >= 0:
            yield start, text[start + len(opening) : closings[-1].start()]
