"""Answers in their recorded form: readable JSON, without values that differ each time."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.golden.cases import Case
from tests.golden.client import Answer

ANY: Final = "*"
LONGEST_BODY: Final = 6000
"""Characters of the longest body recorded whole; of a longer one the digest, the beginning and the end are recorded."""
SHOWN_OF_LONG: Final = 400

_UNSTEADY_HEADERS: Final = re.compile(
    r"date|server|etag|x-request-id|openai-processing-ms|retry-after-ms|x-ratelimit-(reset-.+|remaining-tokens)"
)
_SAME_LENGTH: Final = (
    (re.compile(r"\b(chatcmpl|cmpl)-[0-9a-f]{24}"), r"\1-*"),
    (re.compile(r"\breq_[0-9a-f]{24}"), "req_*"),
    (re.compile(r"\b(resp|msg|fc|ctc)_[0-9a-f]{48}"), r"\1_*"),
    (re.compile(r'"(created|created_at|completed_at)":[1-9]\d{9}\b'), r'"\1":"*"'),
)
_OTHER_LENGTH: Final = (
    (re.compile(r"(Please try again in) [0-9ms.]+s\b"), r"\1 *"),
    (re.compile(r"(tokens per min \(TPM\): Limit \d+, Used) \d+"), r"\1 *"),
)
_FIELDS: Final = re.compile(
    r'"([a-z_]*(?:_ms|_at|bytes|seconds|per_second|sha256)|at|since|holder|id)":("[^"]*"|[\d.e-]+)'
)
_OF_STATUS: Final = ("/corpus", "/mimic/requests", "/conversation/seed")
"""Paths of answers with times, sizes and processes; paths below them have none."""


def recorded(case: Case, answer: Answer, unsteady: Sequence[str]) -> Mapping[str, Any]:
    """An answer as JSON: all headers, the body as a text or as events of a stream, and the end of the connection."""
    body, has_same_length = masked_body(case, answer.body.decode(errors="backslashreplace"))
    if case.raw is not None:
        return {"received": _masked_lines(body)}
    told: dict[str, Any] = {
        "status": answer.status,
        "headers": _headers(case, answer, unsteady, has_same_length=has_same_length),
    }
    if case.keeps_body:
        told["body"] = _shown(body)
    told["ended"] = "whole" if answer.is_whole else "cut"
    if answer.is_open is not None:
        told["connection"] = "open" if answer.is_open else "closed"
    if answer.is_later is not None:
        told["behind the other one"] = answer.is_later
    return told


def masked_body(case: Case, text: str) -> tuple[str, bool]:
    """A body without ids and times, and whether its length is the same each time."""
    for pattern, replacement in _SAME_LENGTH:
        text = pattern.sub(replacement, text)
    changed = text
    for pattern, replacement in _OTHER_LENGTH:
        changed = pattern.sub(replacement, changed)
    if case.path.partition("?")[0] in _OF_STATUS:
        changed = _FIELDS.sub(r'"\1":"*"', changed)
    return changed, changed == text


def entry_of_journal(entry: Mapping[str, Any]) -> str:
    """An entry of the journal on one line: ids and times masked, unknown values left out."""
    unsteady = {"id", "at", "first_byte_ms", "last_byte_ms"}
    known = {name: ANY if name in unsteady else value for name, value in entry.items() if value is not None}
    return json.dumps(known, sort_keys=True, ensure_ascii=False)


def counters(text: str) -> Mapping[str, float]:
    """The counters in a text of Prometheus' format, and the numbers of observed times."""
    found = re.findall(r"^(mimic_\w+(?:_total|_seconds_count)(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def increase(before: Mapping[str, float], after: Mapping[str, float]) -> Mapping[str, int]:
    """The increase of each counter."""
    grown = {name: round(value - before.get(name, 0)) for name, value in after.items()}
    return {name: grown[name] for name in sorted(grown) if grown[name]}


def _headers(case: Case, answer: Answer, unsteady: Sequence[str], *, has_same_length: bool) -> list[str]:
    names = {name for name, _ in answer.headers}
    masked = set(unsteady)
    if "retry-after-ms" in names:
        masked.add("retry-after")
    of_unknown_length = case.method == "HEAD" and case.path.partition("?")[0] in _OF_STATUS
    if of_unknown_length or not (has_same_length and case.keeps_body):
        masked.add("content-length")
    return sorted(
        f"{name}: {ANY if name in masked or _UNSTEADY_HEADERS.fullmatch(name) else value}"
        for name, value in answer.headers
    )


def _masked_lines(text: str) -> list[str]:
    lines = []
    for line in text.split("\r\n"):
        name, colon, _ = line.partition(": ")
        lines.append(f"{name}: {ANY}" if colon and _UNSTEADY_HEADERS.fullmatch(name.lower()) else line)
    return lines


def _shown(text: str) -> str | list[str]:
    if len(text) > LONGEST_BODY:
        digest = hashlib.sha256(text.encode()).hexdigest()
        return [text[:SHOWN_OF_LONG], f"... {len(text)} characters, SHA-256 {digest} ...", text[-SHOWN_OF_LONG:]]
    return text.split("\n\n") if "\n\n" in text else text
