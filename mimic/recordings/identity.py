"""The identity of a request: the parts that decide its answer, as plain data. Pure.

Equal requests share a recording.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import msgspec

from mimic.engine.base import AnswerFormat, ChatMessage, CompletionRequest, Tool, ToolCall, ToolChoice
from mimic.engine.sampling import Sampling
from mimic.recordings.options import NO_RULES, IgnoreRules

Json: TypeAlias = Any
"""A value of JSON."""
Clean: TypeAlias = Callable[[str], str]
"""A change of every text of an identity, such as the removal of secrets."""

SYSTEM_ROLES: Final = frozenset({"system", "developer"})
SLUG_CHARACTERS: Final = 40
SHOWN: Final = 80
"""Characters of a value that a difference shows."""
_DIGEST_BYTES: Final = 12


class Identity(msgspec.Struct, frozen=True):
    """The parts of a request that decide its answer.

    ``parts`` is all of them, for a recording. ``compared`` leaves out what the rules ignore, and ``key`` is its digest.
    ``conversation`` is the digest of the chat up to the first message of the user, and ``title`` a short form of that
    message for the name of a file.
    """

    parts: Mapping[str, Json]
    compared: Mapping[str, Json]
    key: str
    conversation: str
    title: str

    @classmethod
    def of(cls, parts: Mapping[str, Json], rules: IgnoreRules = NO_RULES) -> "Identity":
        """The identity with these parts."""
        compared = _compared(parts, rules)
        start = _start_of(compared)
        title = _slug(start[-1] or "") if start else ""
        return cls(parts, compared, _digest(compared), _digest(start), title or "conversation")


def identity_of(
    request: CompletionRequest,
    body: bytes = b"",
    rules: IgnoreRules = NO_RULES,
    clean: Clean = str,
) -> Identity:
    """The identity of a request, and of its body with the content parts that have no text. ``clean`` changes all texts.

    Left out are the form of the delivery (``stream``), the user, metadata, and the ids of tool calls, which are
    numbered instead. Default values are left out, so that files with recordings are short.
    """
    is_chat = request.prompts[0].tokens is None
    chats = [_messages(prompt.messages) for prompt in request.prompts]
    parts = _without_defaults(
        {
            "model": request.model,
            "messages": chats[0] if is_chat else None,
            "prompts": None if is_chat else [prompt.messages[0].text for prompt in request.prompts],
            "attachments": attachments_of(body),
            "tools": [_tool(tool) for tool in request.tools],
            "tool_choice": _choice(request.tool_choice),
            "parallel_tool_calls": None if request.parallel_tool_calls else False,
            "format": _format(request.answer_format),
            "sampling": _sampling(request.sampling),
            "seed": request.sampling.seed,
            "limits": _without_defaults(msgspec.to_builtins(request.limits)),
            "logprobs": request.logprobs,
        }
    )
    return Identity.of(map_texts(parts, clean), rules)


def _compared(parts: Mapping[str, Json], rules: IgnoreRules) -> Mapping[str, Json]:
    """The parts without those that the rules ignore."""
    if rules == NO_RULES:
        return parts
    kept = {name: part for name, part in parts.items() if name not in rules.fields}
    messages = kept.get("messages", ())
    if "system" in rules.fields:
        messages = [message for message in messages if message["role"] not in SYSTEM_ROLES]
    if "names" in rules.fields:
        messages = [{name: part for name, part in message.items() if name != "name"} for message in messages]
    compared: Mapping[str, Json] = map_texts({**kept, "messages": messages} if messages else kept, rules.clean)
    return compared


def attachments_of(body: bytes) -> list[str]:
    """The digests of all content parts without a text in a request, such as images, in their order."""
    if b'"type"' not in body:
        return []
    return [f"{part.get('type')} {_digest(part)}" for part in _parts_without_text(msgspec.json.decode(body))]


def _parts_without_text(value: Json) -> Iterator[Mapping[str, Json]]:
    """Yield the parts without a text in the contents of messages and items."""
    for item in [*_list(value, "messages"), *_list(value, "input")]:
        for part in [*_list(item, "content"), *_list(item, "output")]:
            if isinstance(part, dict) and not isinstance(part.get("text"), str):
                yield part


def _list(value: Json, name: str) -> Sequence[Json]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else ()


def differences(wanted: Identity, recorded: Identity) -> Sequence[str]:
    """The places where a recorded request differs from a wanted one, as lines of text."""
    ours, theirs = dict(_leaves(wanted.compared)), dict(_leaves(recorded.compared))
    return [
        f"{place}: {_shown(ours, place)}, recorded {_shown(theirs, place)}"
        for place in dict.fromkeys([*ours, *theirs])
        if ours.get(place) != theirs.get(place)
    ]


def likeness_of(wanted: Identity, recorded: Identity) -> float:
    """The share of equal places in two requests, from 0 to 1."""
    ours, theirs = dict(_leaves(wanted.compared)), dict(_leaves(recorded.compared))
    places = {*ours, *theirs}
    return sum(bool(ours.get(place) == theirs.get(place)) for place in places) / len(places)


def _messages(messages: Sequence[ChatMessage]) -> list[dict[str, Json]]:
    """The messages, with tool calls numbered in their order. Calls belong to the text before them, if there is one."""
    numbers: dict[str, int] = {}
    found: list[dict[str, Json]] = []
    for message in messages:
        calls = [_call(call, numbers) for call in message.tool_calls]
        one = {
            "role": message.role,
            "text": message.text,
            "name": message.name,
            "calls": calls,
            "result_of": numbers.get(message.call_id, message.call_id) if message.call_id else None,
        }
        if calls and message.text is None and found and _may_call(found[-1]):
            found[-1]["calls"] = calls
        else:
            found.append(_without_defaults(one))
    return found


def _may_call(message: Mapping[str, Json]) -> bool:
    """True for an answer without calls: a response has its text and its calls as separate items."""
    return bool(message["role"] == "assistant" and "calls" not in message)


def _call(call: ToolCall, numbers: dict[str, int]) -> dict[str, Json]:
    """A call with its number, and its arguments as JSON, so that white space does not count."""
    numbers.setdefault(call.id, len(numbers) + 1)
    try:
        arguments = call.arguments if call.is_custom else msgspec.json.decode(call.arguments)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        arguments = call.arguments
    return {"id": numbers[call.id], "name": call.name, "arguments": arguments}


def _tool(tool: Tool) -> dict[str, Json]:
    parameters = tool.parameters.root if tool.parameters is not None else None
    return _without_defaults({"name": tool.name, "description": tool.description or None, "parameters": parameters})


def _choice(choice: ToolChoice) -> Json:
    if choice.names is None:
        return None if choice.mode == "auto" else choice.mode
    return {"mode": choice.mode, "names": sorted(choice.names)}


def _format(form: AnswerFormat) -> Json:
    if form.schema is None:
        return None if form.kind == "text" else form.kind
    return {"kind": form.kind, "schema": form.schema.root}


def _sampling(sampling: Sampling) -> Json:
    values = {"temperature": sampling.temperature, "top_p": sampling.top_p, "n": sampling.n}
    return {name: value for name, value in values.items() if value != 1}


def _without_defaults(values: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in values.items() if value is not None and value not in ([], (), {}, "")}


def map_texts(value: Json, change: Clean) -> Json:
    """The value with every text changed, but not the names of fields."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: map_texts(item, change) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [map_texts(item, change) for item in value]
    return value


def _start_of(parts: Mapping[str, Json]) -> list[str | None]:
    """The texts at the beginning of a conversation: up to the first one of the user, or the first prompt."""
    start: list[str | None] = [*parts.get("prompts", ())[:1]]
    for message in parts.get("messages", ()):
        start.append(message.get("text"))
        if message["role"] == "user":
            break
    return start


def _digest(value: Json) -> str:
    encoded = msgspec.json.encode(value, order="deterministic")
    return blake2b(encoded, digest_size=_DIGEST_BYTES).hexdigest()


def _slug(text: str) -> str:
    """Words of a text in ASCII, joined by hyphens."""
    words = re.findall(r"[a-z0-9]+", text.lower()[: 4 * SLUG_CHARACTERS])
    return "-".join(words)[:SLUG_CHARACTERS].strip("-")


def _leaves(value: Json, place: str = "") -> Iterator[tuple[str, Json]]:
    """Every place in a value, with what lies there."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{place}.{name}" if place else name)
    elif isinstance(value, (list, tuple)) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{place}[{index}]")
    else:
        yield place, value


def _shown(leaves: Mapping[str, Json], place: str) -> str:
    if place not in leaves:
        return "nothing"
    text = msgspec.json.encode(leaves[place]).decode()
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
