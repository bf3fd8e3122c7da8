"""The engine for agents that act by code: a system message lists Python functions, and each answer is a code block.

smolagents' ``CodeAgent`` is such an agent. Its client runs the code, and ends when the code calls ``final_answer``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from mimic.engine.base import (
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
    ToolChoice,
)
from mimic.engine.instances.schema import JsonSchema
from mimic.engine.retrieval import cut_answers

FINAL: Final = "final_answer("
"""Part of every system message of such an agent."""
LONGEST: Final = 200_000
"""Characters of a system message that is searched for functions."""
MAX_FUNCTIONS: Final = 128
TYPES: Final = frozenset(("string", "integer", "number", "boolean", "array", "object"))
_MARKS: Final = re.compile(r"opened with '([^'\n]{1,20})',? and closed with '([^'\n]{1,20})'")
_FUNCTION: Final = re.compile(
    r'^def (\w{1,64})\(([^)\n]{0,2000})\)[^\n]{0,200}:\n\s{1,8}"""(.{0,4000}?)"""', re.MULTILINE | re.DOTALL
)
_PARAMETER: Final = re.compile(r"(\w{1,64})\s?:\s?(\w{1,20})")
_TASK: Final = re.compile(r"\s*New task:\s*")
_OBSERVATION: Final = re.compile(r"\s*Observations?:\s*")
_UNLIMITED: Final = Limits()


class CodeAgent(msgspec.Struct, frozen=True):
    """The functions that the code may call, and the marks around the code."""

    functions: Sequence[Tool]
    opening: str
    closing: str


class CodeEngine(Engine):
    """Answers agents that act by code. Another engine decides on calls, and answers the other requests."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Answer with code, or as the other engine does. Raises its errors."""
        agent = None if request.tools or request.answer_format is not TEXT else code_agent_of(prompt)
        if agent is None:
            return await self._engine.answer(prompt, request)
        inner = msgspec.structs.replace(
            request, tools=agent.functions, tool_choice=ToolChoice(), limits=_UNLIMITED, logprobs=None
        )
        found = await self._engine.answer(_neutral(prompt, agent), inner)
        texts = [_code(answer, agent) for answer in found.answers]
        answers = await cut_answers(texts, [answer.source for answer in found.answers], request.limits)
        return Answers(found.rung, found.score, answers)


def code_agent_of(prompt: Prompt) -> CodeAgent | None:
    """The agent that the system message of a chat describes; None for other chats."""
    first = prompt.messages[0] if prompt.messages else None
    if (
        first is None
        or first.role not in {"system", "developer"}
        or FINAL not in (text := (first.text or "")[:LONGEST])
    ):
        return None
    marks = _MARKS.search(text)
    return CodeAgent(list(_functions(text)), marks[1], marks[2]) if marks else None


def _functions(text: str) -> Iterator[Tool]:
    """The functions with a docstring, apart from the one for the final answer."""
    for number, (name, parameters, docstring) in enumerate(_FUNCTION.findall(text)):
        if number == MAX_FUNCTIONS:
            return
        if name != FINAL[:-1]:
            described, _, rest = docstring.partition("Args:")
            properties = {one: _schema(one, kind, rest) for one, kind in _PARAMETER.findall(parameters)}
            schema = {"type": "object", "properties": properties, "required": list(properties)}
            yield Tool(name, described.strip(), JsonSchema(schema))


def _schema(name: str, kind: str, described: str) -> Mapping[str, Any]:
    line = re.search(rf"^\s{{0,20}}{name}: (.{{0,500}})$", described, re.MULTILINE)
    typed = {"type": kind} if kind in TYPES else {}
    return {**typed, "description": line[1]} if line else typed


def _neutral(prompt: Prompt, agent: CodeAgent) -> Prompt:
    """The chat without the agent's system message: code is a call, and the message after it is its result."""
    found: list[ChatMessage] = []
    for message in prompt.messages[1:]:
        text, is_after_code = message.text or "", bool(found and found[-1].tool_calls)
        if message.role == "assistant" and (agent.opening in text or is_after_code):
            found.append(ChatMessage("assistant", None, tool_calls=[ToolCall("", "python", "{}")]))
        elif message.role == "user" and is_after_code:
            found.append(ChatMessage("tool", _OBSERVATION.sub("", text, count=1)))
        else:
            found.append(msgspec.structs.replace(message, text=_TASK.sub("", text, count=1)))
    return Prompt(found, prompt.tokens)


def _code(answer: Answer, agent: CodeAgent) -> str:
    """An answer as code: the calls of tools and their results as the final answer, or the text as the final answer."""
    if not answer.tool_calls:
        return _block("I know the answer.", [f"final_answer({answer.text!r})"], agent)
    names = [f"result_{number}" for number, _ in enumerate(answer.tool_calls, 1)]
    lines = [f"{name} = {_call(call)}" for name, call in zip(names, answer.tool_calls, strict=True)]
    result = names[0] if len(names) == 1 else '"\\n".join(map(str, [' + ", ".join(names) + "]))"
    called = ", ".join(dict.fromkeys(call.name for call in answer.tool_calls))
    return _block(f"I will call {called}.", [*lines, f"final_answer({result})"], agent)


def _call(call: ToolCall) -> str:
    arguments = msgspec.json.decode(call.arguments)
    return f"{call.name}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"


def _block(thought: str, lines: Sequence[str], agent: CodeAgent) -> str:
    return "\n".join([f"Thought: {thought}", agent.opening, *lines, agent.closing])
