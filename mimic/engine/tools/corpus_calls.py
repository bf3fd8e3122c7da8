"""Tool calls that the corpus has next, and its answers to results of tools: exact matches only."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from mimic.corpus.calls import CorpusCall
from mimic.corpus.ladder import MatchPolicy
from mimic.engine.base import Answers, CompletionRequest, Engine, Limits, Prompt, Tool
from mimic.errors import Miss, RungNotSeeded

_UNLIMITED: Final = Limits()


class ExactEngine(Engine):
    """Limits another engine to exact matches: a similar chat has other arguments and other results."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Raises Miss if the corpus has at most a similar chat, and StoreError."""
        keeps_tools = bool(prompt.messages) and prompt.messages[-1].is_result
        depth = request.policy.depth
        try:
            policy = MatchPolicy(
                "normalized" if depth in {None, "nearest", "meaning"} else depth, keeps_tools=keeps_tools
            )
            return await self._engine.answer(prompt, replace(request, policy=policy))
        except RungNotSeeded:
            policy = MatchPolicy("last", keeps_tools=keeps_tools)
            return await self._engine.answer(prompt, replace(request, policy=policy))


async def find_calls(
    engine: Engine, prompt: Prompt, request: CompletionRequest, allowed: Sequence[Tool]
) -> Answers | None:
    """The corpus's answers, if the first one calls tools of the request with valid arguments; else None.

    A call that is already in the chat does not count, so that every loop of an agent ends.
    """
    try:
        found = await engine.answer(prompt, replace(request, limits=_UNLIMITED, logprobs=None))
    except Miss:
        return None
    first = found.answers[0].corpus_calls
    if first is None:
        return None
    tools = {tool.name: tool for tool in allowed}
    known = [call.corpus_call() for message in prompt.messages for call in message.tool_calls]
    if any(call in known or call.name not in tools for call in first.calls):
        return None
    is_valid = await asyncio.to_thread(lambda: all(_fits(call, tools[call.name]) for call in first.calls))
    return found if is_valid else None


def _fits(call: CorpusCall, tool: Tool) -> bool:
    """True if a tool accepts the arguments of a call."""
    if tool.is_custom:
        return isinstance(call.arguments, str)
    if not isinstance(call.arguments, dict):
        return False
    return tool.parameters is None or bool(tool.parameters.validator.is_valid(call.arguments))


def arguments_of(call: CorpusCall) -> str:
    """The arguments in the form of a request: JSON, or a text for a custom tool."""
    return call.arguments if isinstance(call.arguments, str) else msgspec.json.encode(call.arguments).decode()
