"""Tool calls: the decision to call tools, the choice of tools, and their arguments."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
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
    ChatMessage,
    CompletionRequest,
    Engine,
    Limits,
    Prompt,
    Tool,
    ToolCall,
)
from mimic.engine.fallback import Chain
from mimic.engine.instances.chat_values import ChatValues, subjects
from mimic.engine.instances.maker import instance
from mimic.engine.instances.schema import SchemaProblem
from mimic.engine.instances.values import Field
from mimic.engine.overrides import ToolMode, ToolOptions
from mimic.engine.retrieval import cut_answers
from mimic.engine.shapes import ENDING, PROPERTIES
from mimic.engine.structured import StructuredEngine
from mimic.engine.tools.code_agent import FINAL, CodeEngine
from mimic.engine.tools.corpus_calls import ExactEngine, arguments_of, find_calls
from mimic.engine.tools.likeness import likeness
from mimic.engine.tools.written_calls import read_written_calls
from mimic.errors import Miss, RequestError

MOST_CALLS: Final = 16


class AssistantEngine(Engine):
    """The engine of chats and prompts: it calls tools, answers their results, and gives answers their form.

    Most requests need only a text: they take a fast path to the engine of texts.
    """

    def __init__(self, corpus: Engine, texts: Engine, options: ToolOptions) -> None:
        """``corpus`` answers from the corpus only; ``texts`` also has a fallback for a miss."""
        self._texts = texts
        exact = ExactEngine(corpus)
        results = StructuredEngine(Chain([ResultEngine(exact), texts]))
        self._all = CodeEngine(ToolEngine(exact, results, options))

    def answer(self, prompt: Prompt, request: CompletionRequest) -> Coroutine[Any, Any, Answers]:
        """Answer a prompt. Raises the errors of the engines."""
        is_plain = not request.tools and request.answer_format is TEXT and not describes_form(prompt.messages)
        if is_plain and (not prompt.messages or prompt.messages[-1].role not in RESULT_ROLES):
            return self._texts.answer(prompt, request)
        return self._all.answer(prompt, request)


class ToolEngine(Engine):
    """Calls the tools of a request if necessary, and passes other requests to the next engine.

    The calls are those of the corpus if the chat matches exactly; otherwise the request decides. The same request
    always gets the same calls, with the same ids.
    """

    def __init__(self, corpus: Engine, engine: Engine, options: ToolOptions) -> None:
        self._corpus = corpus
        self._engine = engine
        self._options = options

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Call tools or answer. Raises RequestError if no arguments meet a schema, and the next engine's errors."""
        allowed = self._allowed(request)
        if request.tools:
            prompt = read_written_calls(prompt, request.tools)
        if not allowed:
            return await self._engine.answer(prompt, request)
        if found := await find_calls(self._corpus, prompt, request, allowed):
            return await _as_calls(found, prompt, request)
        if chosen := self._choose(prompt, request, allowed):
            said = await self._text(prompt, request) if _takes_answer(chosen, prompt) else None
            calls = await asyncio.to_thread(_calls, chosen, prompt, request, said)
            answer = await _cut_calls(calls, request.limits.max_tokens)
            return Answers(None, None, [answer] * request.sampling.n)
        return await self._engine.answer(prompt, request)

    async def _text(self, prompt: Prompt, request: CompletionRequest) -> str | None:
        """The text of the next engine, for a tool that takes the answer of an agent; None if it has none."""
        with suppress(Miss):
            text_request = msgspec.structs.replace(request, limits=Limits(), logprobs=None, answer_format=TEXT)
            return (await self._engine.answer(prompt, text_request)).answers[0].text
        return None

    def _allowed(self, request: CompletionRequest) -> Sequence[Tool]:
        """The tools that may be called; empty if the answer is a text in any case."""
        choice = request.tool_choice
        if choice.mode == "none" or (choice.mode == "auto" and self._mode(request) == "never"):
            return ()
        return [tool for tool in request.tools if choice.names is None or tool.name in choice.names]

    def _mode(self, request: CompletionRequest) -> ToolMode:
        return request.tool_mode or self._options.mode

    def _choose(self, prompt: Prompt, request: CompletionRequest, allowed: Sequence[Tool]) -> Sequence[Tool]:
        """The tools to call by the request alone; empty if the answer is a text."""
        mode, is_required = self._mode(request), request.tool_choice.mode == "required"
        if not is_required and (mode == "corpus" or _ends_with_result(prompt)):
            return ()
        question, called = _last_of_user(prompt), _called_tools(prompt)
        scores = {tool.name: likeness(question, tool) for tool in allowed}
        ranked = sorted(allowed, key=lambda tool: (tool.name in called, -scores[tool.name]))
        best = [tool for tool in ranked if scores[tool.name] >= self._options.min_score]
        if called and is_required:
            best = ranked[:1]  # called tools come last, so that a loop of required calls goes on
        elif not best and (is_required or mode == "always"):  # nothing is asked for: a loop may end
            best = sorted(ranked, key=lambda tool: (tool.name in called, not _is_ending(tool)))[:1]
        return best[:MOST_CALLS] if request.parallel_tool_calls else best[:1]


class ResultEngine(Engine):
    """Answers tool results: with the next text of the corpus if the chat matches exactly, else with the results.

    So every loop of an agent ends.
    """

    def __init__(self, corpus: Engine) -> None:
        self._corpus = corpus

    def answers(self, prompt: Prompt) -> bool:
        """True if the chat ends with a result."""
        return _ends_with_result(prompt)

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Answer with a text of the corpus, or with the results of the last calls, one per line."""
        with suppress(Miss):
            return await self._corpus.answer(prompt, request)
        results = list(takewhile(lambda message: message.is_result, reversed(prompt.messages)))
        text = "\n".join(message.text or "" for message in reversed(results))
        n = request.sampling.n
        return Answers(None, None, await cut_answers([text] * n, [None] * n, request.limits))


async def _as_calls(found: Answers, prompt: Prompt, request: CompletionRequest) -> Answers:
    """Answers of the corpus with tool calls in the place of texts. Every other answer stays a text."""
    custom = {tool.name for tool in request.tools if tool.is_custom}
    first = found.answers[0].corpus_calls
    answers = []
    for answer in found.answers:
        if answer.corpus_calls is None or first is None or answer.corpus_calls.calls != first.calls:
            [text] = await cut_answers([answer.text], [answer.source], request.limits)
            answers.append(text)
            continue
        calls = first.calls if request.parallel_tool_calls else first.calls[:1]
        planned = [(call.name, arguments_of(call), call.name in custom) for call in calls]
        made = await _cut_calls(_with_ids(planned, prompt), request.limits.max_tokens)
        answers.append(msgspec.structs.replace(made, source=answer.corpus_calls.source))
    return Answers(found.rung, found.score, answers)


def describes_form(messages: Sequence[ChatMessage]) -> bool:
    """True if a message may describe the form of the answer. It is quick, since it is asked for every plain chat."""
    for message in messages:  # noqa: SIM110 - a generator would be a call for each message
        if message.text and (PROPERTIES in message.text or FINAL in message.text):
            return True
    return False


def _ends_with_result(prompt: Prompt) -> bool:
    return bool(prompt.messages) and prompt.messages[-1].is_result


def _called_tools(prompt: Prompt) -> frozenset[str]:
    """The names of the tools called after the user's last message."""
    recent = list(takewhile(lambda message: message.role != "user", reversed(prompt.messages)))
    return frozenset(call.name for message in recent for call in message.tool_calls)


def _last_of_user(prompt: Prompt) -> str:
    return next((message.text or "" for message in reversed(prompt.messages) if message.role == "user"), "")


def _is_ending(tool: Tool) -> bool:
    return not ENDING.isdisjoint(Field(tool.name).words)


def _takes_answer(chosen: Sequence[Tool], prompt: Prompt) -> bool:
    """True for a call of a tool that takes the answer, if no result of a tool is the answer."""
    return len(chosen) == 1 and _is_ending(chosen[0]) and not any(message.is_result for message in prompt.messages)


def _calls(chosen: Sequence[Tool], prompt: Prompt, request: CompletionRequest, said: str | None) -> Sequence[ToolCall]:
    """A call of each tool; a single tool is called once for each subject of the question. Blocks.

    ``said`` is a text for the tool that takes the answer.
    """
    newest_first = [message for message in reversed(prompt.messages) if message.text]
    texts = [message.text or "" for message in newest_first if message.role == "user"]
    results = [message.text or "" for message in newest_first if message.is_result] or ([said] if said else [])
    question = texts[0] if texts else ""
    times = min(subjects(question), MOST_CALLS) if len(chosen) == 1 and request.parallel_tool_calls else 1
    pairs = [(tool, ChatValues(texts, index, results)) for tool in chosen for index in range(times)]
    planned = [(tool, _arguments(tool, values, question)) for tool, values in pairs]
    distinct = list(dict.fromkeys((tool.name, arguments, tool.is_custom) for tool, arguments in planned))
    return _with_ids(distinct, prompt)


def _with_ids(planned: Sequence[tuple[str, str, bool]], prompt: Prompt) -> Sequence[ToolCall]:
    """Calls with ids that depend on the chat and on the calls: names, arguments, and whether the tool is custom."""
    key = blake2b(
        msgspec.msgpack.encode([(message.role, message.text, message.call_id) for message in prompt.messages]),
        digest_size=16,
    )
    calls = []
    for index, (name, arguments, is_custom) in enumerate(planned):
        digest = blake2b(
            f"{index}\0{name}\0{arguments}".encode(errors="surrogatepass"), key=key.digest(), digest_size=12
        )
        calls.append(ToolCall(f"call_{digest.hexdigest()}", name, arguments, is_custom))
    return calls


def _arguments(tool: Tool, values: ChatValues, question: str) -> str:
    """The arguments of a call: JSON by the tool's schema, or the question itself for a custom tool."""
    if tool.is_custom:
        return question
    if tool.parameters is None:
        return "{}"
    try:
        made = instance(tool.parameters, values)
    except SchemaProblem as exc:
        text = f"Invalid schema for function '{tool.name}': {exc}."
        raise RequestError(400, text, param=tool.param, code="invalid_function_parameters") from exc
    return msgspec.json.encode(made).decode()


async def _cut_calls(calls: Sequence[ToolCall], most: int | None) -> Answer:
    """An answer of calls, cut after ``most`` tokens of their arguments."""
    encoded = await tokens.encode_all([call.arguments for call in calls])
    kept: list[ToolCall] = []
    left = most
    for call, numbers in zip(calls, encoded, strict=True):
        if left is not None and len(numbers) > left:
            cut = tokens.cut(numbers, left)
            kept.append(msgspec.structs.replace(call, arguments=tokens.text_of(cut), tokens=cut))
            return Answer("", [number for call in kept for number in call.tokens], "length", None, kept)
        left = None if left is None else left - len(numbers)
        kept.append(msgspec.structs.replace(call, tokens=numbers))
    return Answer("", [number for call in kept for number in call.tokens], "tool_calls", None, kept)
