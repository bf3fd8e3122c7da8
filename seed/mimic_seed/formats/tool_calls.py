"""Tool calls of other formats, in the layout of :mod:`mimic.corpus.calls`."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from mimic.corpus.calls import CorpusCall, call_message
from mimic.corpus.conversation import Message
from mimic_seed.formats.base import Broken, Unreadable, Unusable

RESULT_SENDER: Final = "observation"
"""The sender of a tool's result in the corpus."""


def message_with(calls: Sequence[Any], where: str) -> Message:
    """A message with these calls. Raises Unreadable for a call without a name or with broken arguments.

    A call is ``{"function": {"name", "arguments"}}``, the same without ``function``, or ``{"custom": {"name",
    "input"}}``. Arguments are an object, or a string of JSON.
    """
    try:
        return call_message([_call(call, where) for call in calls])
    except (OverflowError, TypeError, ValueError) as exc:
        raise _broken(where) from exc


def _call(call: Any, where: str) -> CorpusCall:
    if not isinstance(call, Mapping):
        raise _broken(where)
    inner = call.get("function") or call.get("custom") or call
    if not isinstance(inner, Mapping) or not isinstance(name := inner.get("name"), str) or isinstance(name, Broken):
        raise _broken(where)
    arguments: Any = next((inner[field] for field in ("arguments", "input", "parameters") if field in inner), {})
    if isinstance(arguments, Broken):
        raise Unreadable("lone surrogate", f"{where} holds a lone surrogate")
    if isinstance(arguments, str) and "custom" not in call:
        arguments = _parsed(arguments)
    if not isinstance(arguments, dict | str):
        raise _broken(where)
    return CorpusCall(name, plain(arguments, where))


def _parsed(text: str) -> Any:
    """An object in a string of JSON; any other string is returned as it is."""
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def plain(value: Any, where: str) -> Any:
    """A value with floats for decimals. Raises Unreadable for a lone surrogate, and for values that were not kept."""
    if isinstance(value, Broken):
        raise Unreadable("lone surrogate", f"{where} holds a lone surrogate")
    if isinstance(value, Unusable):
        raise _broken(where)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {key: plain(part, where) for key, part in value.items()}
    return [plain(part, where) for part in value] if isinstance(value, list) else value


def _broken(where: str) -> Unreadable:
    return Unreadable("a broken tool call", f"{where} has a broken tool call")
