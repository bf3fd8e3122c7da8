"""Answers of the corpus in which tools are called, and the corpus's answers to results of tools: only real matches."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from mimic.corpus.calls import CorpusCall
from mimic.corpus.ladder import MatchPolicy, Rung
from mimic.engine.base import Answer, Answers, CompletionRequest, Engine, Limits, Prompt, Tool
from mimic.errors import Miss, RungNotSeeded

EXACT: Final[Sequence[Rung]] = ("previous", "last", "normalized")
"""Rungs on which the chat was really said. What is merely like it has other arguments and other results."""
_EXACT_SCORE: Final = 1.0
_UNLIMITED: Final = Limits()


class ExactEngine(Engine):
    """Another engine's answers, where the chat matches on an exact rung."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Raises Miss where the chat is at most like one of the corpus, and StoreError."""
        depth = request.policy.depth
        try:
            policy = MatchPolicy("normalized" if depth in (None, "nearest") else depth)
            return await self._engine.answer(prompt, replace(request, policy=policy))
        except RungNotSeeded:
            return await self._engine.answer(prompt, replace(request, policy=MatchPolicy("last")))


async def corpus_calls(
    engine: Engine, prompt: Prompt, request: CompletionRequest, allowed: Sequence[Tool]
) -> Sequence[Answer]:
    """The corpus's answers, of which the first one calls tools that the request has, with valid arguments.

    Empty where that is not what came next, or where the chat already has a call equal to one of them.
    """
    try:
        found = await engine.answer(prompt, replace(request, limits=_UNLIMITED))
    except Miss:
        return ()
    tools = {tool.name: tool for tool in allowed}
    known = [call.said() for message in prompt.messages for call in message.tool_calls]

    def is_usable(answer: Answer) -> bool:
        calls = answer.said_calls
        return bool(calls) and all(call not in known and _fits(call, tools.get(call.name)) for call in calls)

    usable = [answer for answer in found.answers if answer.said_calls]
    if not usable or usable[0] is not found.answers[0]:
        return ()
    return found.answers if await asyncio.to_thread(is_usable, usable[0]) else ()


def _fits(call: CorpusCall, tool: Tool | None) -> bool:
    """Whether a tool takes the arguments of a call."""
    if tool is None:
        return False
    if tool.is_custom:
        return isinstance(call.arguments, str)
    if not isinstance(call.arguments, dict):
        return False
    return tool.parameters is None or bool(tool.parameters.validator.is_valid(call.arguments))


def arguments_of(call: CorpusCall) -> str:
    """The arguments as a request gets them: JSON, or the text for a custom tool."""
    return call.arguments if isinstance(call.arguments, str) else msgspec.json.encode(call.arguments).decode()
