"""``/v1/completions``: OpenAI's older format, in which a prompt is one message of the user's."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal

import msgspec

from mimic.engine.base import ChatMessage, Completion, FinishReason, Prompt
from mimic.errors import RequestError
from mimic.wire.openai.base import Input, OpenAIUsage, Texts, created_now, encoding_of, inputs_of, new_id
from mimic.wire.openai.ignored import OF_PROMPTS, IgnoredFields
from mimic.wire.openai.sampled import MAX_ANSWERS, OpenAIRequest, Sampled, SampledWire, UsageField, choice_in_json

PATH: Final = "/v1/completions"


class TextCompletionRequest(Sampled, frozen=True, kw_only=True):
    """One prompt or several, each a text or a list of tokens; null is one without a text."""

    prompt: Texts | None
    echo: bool | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None
    best_of: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    suffix: str | None = None

    @property
    def is_echoed(self) -> bool:
        """As the request says."""
        return bool(self.echo)


class TextChoice(msgspec.Struct, frozen=True):
    """One of ``n`` answers to one of the prompts, or what a chunk adds to it."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"] | None
    logprobs: None = None


class TextCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """The answers, or a chunk of them; ``usage`` is there in chunks if it was asked for, null until the last."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: Sequence[TextChoice]
    usage: OpenAIUsage | msgspec.UnsetType | None = msgspec.UNSET


class CompletionsWire(SampledWire[TextCompletionRequest, TextCompletion]):
    """OpenAI's text completions."""

    kind = TextCompletionRequest
    left_out = IgnoredFields(OF_PROMPTS)

    async def prompts(self, data: TextCompletionRequest) -> Sequence[Prompt]:
        given = "" if data.prompt is None else data.prompt
        return _prompts(await inputs_of(given, "prompt", encoding_of(data.model)), data.n or 1)

    def whole(self, request: OpenAIRequest, result: Completion) -> bytes:
        choices = [
            TextChoice(index, echo + one.text, _reason(one.finish_reason))
            for index, (echo, one) in enumerate(zip(_echoed(request, result), result.answers, strict=True))
        ]
        blank = self.blank(request, OpenAIUsage.of(result.usage))
        return msgspec.json.encode(msgspec.structs.replace(blank, choices=choices))

    def blank(self, request: OpenAIRequest, usage: UsageField) -> TextCompletion:
        return TextCompletion(id=new_id("cmpl"), created=created_now(), model=request.model, choices=(), usage=usage)

    def choice(self, index: int, text: str | None, finish_reason: FinishReason | None = None) -> TextChoice:
        return TextChoice(index, text or "", finish_reason and _reason(finish_reason))

    def opening(self, request: OpenAIRequest, result: Completion) -> Iterable[bytes]:
        """The prompts that are echoed."""
        echoed = enumerate(_echoed(request, result))
        return [choice_in_json(self.choice(index, echo)) for index, echo in echoed if echo]


def _prompts(inputs: Sequence[Input], n: int) -> list[Prompt]:
    """The prompts. Raises RequestError where they want more answers than are allowed."""
    if len(inputs) * n > MAX_ANSWERS:
        raise RequestError(
            400,
            f"Invalid 'prompt': the array is too long. Expected at most {MAX_ANSWERS} answers, 'n' to each prompt.",
            param="prompt",
            code="array_above_max_length",
        )
    return [Prompt((ChatMessage("user", one.text),), one.tokens) for one in inputs]


def _echoed(request: OpenAIRequest, result: Completion) -> list[str]:
    """The text in front of each answer: its prompt where that was asked for."""
    return [
        (prompt.messages[0].text or "") if request.echo else ""
        for prompt, answers in zip(request.prompts, result.results, strict=True)
        for _ in answers.answers
    ]


def _reason(reason: FinishReason) -> Literal["stop", "length"]:
    """The reason why an answer ends; a bare prompt has no tools."""
    return "length" if reason == "length" else "stop"
