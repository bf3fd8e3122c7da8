"""The common part of OpenAI's wires: model names, texts and tokens, usage, errors and ids."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Annotated, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from mimic import tokens
from mimic.corpus.schemas import VERSIONS, Version
from mimic.engine.base import Usage
from mimic.errors import RequestError
from mimic.records.base import new_id as new_record_id
from mimic.spelling import shown
from mimic.tokens import EncodingName
from mimic.wire import sse
from mimic.wire.base import EventPlan, Wire
from mimic.wire.openai.errors import error_body

Q = TypeVar("Q")
R = TypeVar("R")

CHAT_MODELS: Final[Mapping[str, Version]] = {f"mimic-{version}": version for version in VERSIONS}
EMBEDDING_MODEL: Final = "mimic-embedding"
NOT_JSON: Final = b'data: {"choices": [{"index": 0, "delta": {"content": "\n\n'

CL100K_MODELS: Final = re.compile(r"(ft:)?(gpt-3\.5|gpt-35|gpt-4(?![o.])|davinci-002|babbage-002|text-embedding-)")
"""Names of OpenAI's models before GPT-4o."""

Texts: TypeAlias = str | Annotated[Sequence[str | int | Sequence[int]], msgspec.Meta(min_length=1)]
"""A text or several, each as a string or as tokens."""


class Names(msgspec.Struct, frozen=True):
    """Model names: the version for unknown names, or strict names, which refuse unknown ones."""

    version: Version = "v3"
    strict: bool = False

    @property
    def default(self) -> str:
        """The name of a model for requests without one."""
        return f"mimic-{self.version}"

    def version_of(self, model: str) -> Version:
        """The schema version for a model name. With strict names, raises RequestError for an unknown name."""
        if self.strict and model not in CHAT_MODELS:
            raise unknown_model(model)
        return CHAT_MODELS.get(model, self.version)


class PromptDetails(msgspec.Struct, frozen=True):
    """Details of the prompt's tokens. Mimic counts no cached and no audio tokens."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionDetails(msgspec.Struct, frozen=True):
    """Details of the answer's tokens. Mimic counts no audio or prediction tokens."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class OpenAIUsage(msgspec.Struct, frozen=True):
    """Tokens of ``o200k_base``."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails = PromptDetails()
    completion_tokens_details: CompletionDetails = CompletionDetails()

    @classmethod
    def of(cls, usage: Usage) -> "OpenAIUsage":
        """The usage of a completion."""
        if not usage.reasoning_tokens:
            return cls(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
        details = CompletionDetails(usage.reasoning_tokens)
        return cls(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, completion_tokens_details=details)


class OpenAIWire(Wire[Q, R], Generic[Q, R]):
    """A format of OpenAI's."""

    def error(self, error: RequestError) -> bytes:
        return msgspec.json.encode(error_body(error))

    def broken(self, kind: Literal["malformed", "error"], error: RequestError, plan: EventPlan, sent: int) -> bytes:
        return NOT_JSON if kind == "malformed" else sse.frames([error_body(error)])


class Input(msgspec.Struct, frozen=True):
    """A text of a request, and its number of tokens."""

    text: str
    tokens: int


def encoding_of(model: str) -> EncodingName:
    """The encoding of tokens in requests for a model: the same as tiktoken's for that name."""
    return "cl100k_base" if CL100K_MODELS.match(model) else "o200k_base"


async def inputs_of(given: Texts, param: str, encoding: EncodingName) -> list[Input]:
    """The texts in a field: one text or several, as strings or as tokens in that encoding.

    Raises RequestError for invalid tokens, or for a mixture.
    """
    texts = [given] if isinstance(given, str) else [item for item in given if isinstance(item, str)]
    if len(texts) == len(given) or isinstance(given, str):
        encoded = await tokens.encode_all(texts)
        return [Input(text, len(numbers)) for text, numbers in zip(texts, encoded, strict=True)]
    if all(isinstance(item, int) for item in given):
        return [_decode([item for item in given if isinstance(item, int)], param, encoding)]
    lists = [item for item in given if not isinstance(item, (str, int))]
    if len(lists) < len(given):
        raise RequestError(
            400,
            f"Invalid type for '{param}': expected all texts, all tokens or all lists of tokens, but got a mixture.",
            param=param,
            code="invalid_type",
        )
    return [_decode(numbers, f"{param}[{index}]", encoding) for index, numbers in enumerate(lists)]


def _decode(numbers: Sequence[int], path: str, encoding: EncodingName) -> Input:
    try:
        # Tokens that end within a character are a text for a model, too: "replace" keeps the rest.
        return Input(tokens.text_of(numbers, "replace", encoding), len(numbers))
    except (ValueError, OverflowError):
        text = f"Invalid '{path}': it contains numbers that are not tokens of {encoding}."
        raise RequestError(400, text, param=path, code="invalid_value") from None


def unknown_model(model: str) -> RequestError:
    """The error for a model that does not exist."""
    return RequestError(404, f"The model `{shown(model)}` does not exist", param="model", code="model_not_found")


class AnswerIdentity(NamedTuple):
    """The identity of an answer that may be made twice: a key of 48 hexadecimal digits, and its time."""

    key: str
    created: int


ANSWER_IDENTITY: Final[ContextVar[AnswerIdentity | None]] = ContextVar("mimic_identity", default=None)
"""The identity of the answer that this task makes; None is a new one. Lines of batches have one."""


def created_now() -> int:
    """The field ``created`` of an answer: seconds since 1970."""
    fixed = ANSWER_IDENTITY.get()
    return int(time.time()) if fixed is None else fixed.created


def new_id(prefix: str) -> str:
    """A unique id for an answer."""
    fixed = ANSWER_IDENTITY.get()
    return f"{prefix}-{os.urandom(12).hex() if fixed is None else fixed.key[:24]}"


def new_response_id() -> str:
    """A unique id for a response, which cannot be guessed."""
    fixed = ANSWER_IDENTITY.get()
    return new_record_id("resp") if fixed is None else f"resp_{fixed.key}"
