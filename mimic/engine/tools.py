"""Calls of tools: whether a request gets one, of which tools, and with which arguments."""

import asyncio
from collections.abc import Coroutine, Sequence
from hashlib import blake2b
from itertools import takewhile
from typing import Any, Final

import msgspec

from mimic import tokens
from mimic.engine.base import (
    RESULT_ROLES,
    TEXT,
    Answer,
    Answers,
    CompletionRequest,
    Engine,
    Prompt,
    Tool,
    ToolCall,
)
from mimic.engine.fallback import Chain
from mimic.engine.instances.chat_values import ChatValues, subjects
from mimic.engine.instances.maker import instance
from mimic.engine.instances.schema import SchemaProblem
from mimic.engine.likeness import likeness
from mimic.engine.overrides import ToolOptions
from mimic.engine.retrieval import ended
from mimic.engine.structured import StructuredEngine
from mimic.engine.written_calls import read_written_calls
from mimic.errors import RequestError

MOST_CALLS: Final = 16


class AssistantEngine(Engine):
    """What an application's requests are answered by: tools are called, results told, and answers given their form.

    Requests that want none of that, as most, go straight to the engine that gives texts.
    """

    def __init__(self, texts: Engine, options: ToolOptions) -> None:
        self._texts = texts
        self._all = ToolEngine(StructuredEngine(Chain([ResultEngine(), texts])), options)

    def answer(self, prompt: Prompt, request: CompletionRequest) -> Coroutine[Any, Any, Answers]:
        """Raises what the engines raise."""
        is_plain = not request.tools and request.answer_format is TEXT
        if is_plain and (not prompt.messages or prompt.messages[-1].role not in RESULT_ROLES):
            return self._texts.answer(prompt, request)
        return self._all.answer(prompt, request)


class ToolEngine(Engine):
    """Calls the tools of a request where it asks for that; everything else is left to the engine behind it.

    The same request always gets the same calls, the ids included.
    """

    def __init__(self, engine: Engine, options: ToolOptions) -> None:
        self._engine = engine
        self._options = options

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Raises RequestError where no arguments meet a tool's schema, and what the other engine raises."""
        if request.tools:
            prompt = read_written_calls(prompt, request.tools)
        if request.tools and (chosen := self.chosen(prompt, request)):
            calls = await asyncio.to_thread(_calls, chosen, prompt, request)
            answer = await _ended(calls, request.limits.max_tokens)
            return Answers(None, None, [answer] * request.sampling.n)
        return await self._engine.answer(prompt, request)

    def chosen(self, prompt: Prompt, request: CompletionRequest) -> Sequence[Tool]:
        """The tools to call; none where the answer is a text."""
        choice, mode = request.tool_choice, request.tool_mode or self._options.mode
        allowed = [tool for tool in request.tools if choice.names is None or tool.name in choice.names]
        if choice.mode == "none" or not allowed:
            return ()
        is_required = choice.mode == "required"
        if not is_required and (mode == "never" or _ends_with_result(prompt)):
            return ()
        asked, called = _last_of_user(prompt), _called(prompt)
        scores = {tool.name: likeness(asked, tool) for tool in allowed}
        ranked = sorted(allowed, key=lambda tool: (tool.name in called, -scores[tool.name]))
        best = [tool for tool in ranked if scores[tool.name] >= self._options.min_score]
        if called and is_required:
            best = ranked[:1]  # what was called already comes last, so that a loop of required calls goes on
        elif not best and (is_required or mode == "always"):
            best = ranked[:1]
        return best[:MOST_CALLS] if request.parallel_tool_calls else best[:1]


class ResultEngine(Engine):
    """Answers the results of tools with a text that carries them, so that every loop of an agent comes to an end."""

    def answers(self, prompt: Prompt) -> bool:
        """Whether the chat ends with a result."""
        return _ends_with_result(prompt)

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """The results behind the last call, a line each."""
        results = list(takewhile(lambda message: message.is_result, reversed(prompt.messages)))
        text = "\n".join(message.text or "" for message in reversed(results))
        n = request.sampling.n
        return Answers(None, None, await ended([text] * n, [None] * n, request.limits))


def _ends_with_result(prompt: Prompt) -> bool:
    return bool(prompt.messages) and prompt.messages[-1].is_result


def _called(prompt: Prompt) -> frozenset[str]:
    """The tools that were called since the user spoke last."""
    since = list(takewhile(lambda message: message.role != "user", reversed(prompt.messages)))
    return frozenset(call.name for message in since for call in message.tool_calls)


def _last_of_user(prompt: Prompt) -> str:
    return next((message.text or "" for message in reversed(prompt.messages) if message.role == "user"), "")


def _calls(chosen: Sequence[Tool], prompt: Prompt, request: CompletionRequest) -> Sequence[ToolCall]:
    """A call of each tool; of a single tool one for each thing that is asked about. Blocks."""
    newest_first = [message for message in reversed(prompt.messages) if message.text]
    texts = [message.text or "" for message in newest_first if message.role == "user"]
    results = [message.text or "" for message in newest_first if message.is_result]
    asked = texts[0] if texts else ""
    times = min(subjects(asked), MOST_CALLS) if len(chosen) == 1 and request.parallel_tool_calls else 1
    pairs = [(tool, ChatValues(texts, index, results)) for tool in chosen for index in range(times)]
    said = [(tool, _arguments(tool, values, asked, request)) for tool, values in pairs]
    distinct = list(dict.fromkeys((tool.name, arguments, tool.is_custom) for tool, arguments in said))
    key = blake2b(
        msgspec.msgpack.encode([(one.role, one.text, one.call_id) for one in prompt.messages]), digest_size=16
    )
    found = []
    for index, (name, arguments, is_custom) in enumerate(distinct):
        digest = blake2b(
            f"{index}\0{name}\0{arguments}".encode(errors="surrogatepass"), key=key.digest(), digest_size=12
        )
        found.append(ToolCall(f"call_{digest.hexdigest()}", name, arguments, is_custom))
    return found


def _arguments(tool: Tool, values: ChatValues, asked: str, request: CompletionRequest) -> str:
    """What a tool is called with: JSON by its schema, or the message itself for a custom tool."""
    if tool.is_custom:
        return asked
    if tool.parameters is None:
        return "{}"
    try:
        made = instance(tool.parameters, values)
    except SchemaProblem as exc:
        index = [one.name for one in request.tools].index(tool.name)
        path = f"tools[{index}].function.parameters"
        raise RequestError(
            400, f"Invalid schema for function '{tool.name}': {exc}.", param=path, code="invalid_function_parameters"
        ) from exc
    return msgspec.json.encode(made).decode()


async def _ended(calls: Sequence[ToolCall], most: int | None) -> Answer:
    """An answer of calls, cut after so many tokens of their arguments."""
    encoded = await tokens.encode_all([call.arguments for call in calls])
    kept: list[ToolCall] = []
    left = most
    for call, numbers in zip(calls, encoded, strict=True):
        if left is not None and len(numbers) > left:
            cut = tokens.cut(numbers, left)
            kept.append(msgspec.structs.replace(call, arguments=tokens.text_of(cut), tokens=cut))
            return Answer("", [n for one in kept for n in one.tokens], "length", None, kept)
        left = None if left is None else left - len(numbers)
        kept.append(msgspec.structs.replace(call, tokens=numbers))
    return Answer("", [n for one in kept for n in one.tokens], "tool_calls", None, kept)
