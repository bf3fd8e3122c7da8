"""The common part of chats and prompts: supported fields, and streams of chunks.

All other fields of OpenAI's API are accepted and ignored.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Generic, TypeAlias, TypeVar

import msgspec

from mimic.corpus.ladder import MatchPolicy
from mimic.engine.base import Answer, Completion, CompletionRequest, FinishReason, Known, Limits, Prompt
from mimic.engine.overrides import NO_OVERRIDES, Overrides
from mimic.engine.sampling import Sampling
from mimic.errors import RequestError
from mimic.wire.base import EventPlan, Given, Steps
from mimic.wire.json import decode
from mimic.wire.openai.base import Names, OpenAIUsage, OpenAIWire
from mimic.wire.openai.given import END, given_choices
from mimic.wire.openai.ignored import IgnoredFields, not_acted_on
from mimic.wire.openai.logprobs import with_logprobs
from mimic.wire.sse import MARKER, InTurn, Template, TokenStream, frames, on_one_line

MAX_ANSWERS: Final = 128
NO_LIMITS: Final = Limits()
DEFAULT_SAMPLING: Final = Sampling()
DONE: Final = b"data: [DONE]\n\n"
"""The end of OpenAI's streams."""
_NO_CHOICES: Final = b'"choices":[]'

Penalty: TypeAlias = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Temperature: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=2)]
TopP: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
Metadata: TypeAlias = Annotated[
    Mapping[Annotated[str, msgspec.Meta(max_length=64)], Annotated[str, msgspec.Meta(max_length=512)]],
    msgspec.Meta(max_length=16),
]
"""Texts that an answer repeats."""
UsageField: TypeAlias = OpenAIUsage | msgspec.UnsetType | None
"""The usage in a chunk: absent if not requested, null before the last chunk."""


class StreamOptions(msgspec.Struct, frozen=True):
    """Options of a stream. With ``include_usage``, it ends with the usage."""

    include_usage: bool | None = None


class Sampled(msgspec.Struct, frozen=True, kw_only=True):
    """A request for drawn answers. A null field takes its default."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_ANSWERS)] | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | Annotated[Sequence[str], msgspec.Meta(max_length=4)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Mapping[str, float] | None = None
    user: str | None = None

    def sampling(self) -> Sampling:
        """The parameters of the draw."""
        if self.temperature is None and self.top_p is None and self.n is None and self.seed is None:
            return DEFAULT_SAMPLING
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            n=self.n or 1,
            seed=self.seed,
        )

    @property
    def token_limit(self) -> int | None:
        """The most tokens of an answer."""
        return self.max_tokens

    def limits(self) -> Limits:
        """The limits of an answer."""
        if self.stop is None and self.token_limit is None:
            return NO_LIMITS
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or ()
        return Limits(stop, self.token_limit)

    def check(self) -> None:
        """Raises RequestError for fields that exclude each other."""
        if self.stream_options and not self.stream:
            raise RequestError(
                400,
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
                param="stream_options",
                code="invalid_parameter_combination",
            )

    @property
    def has_reasoning(self) -> bool:
        """True if a model may reason before its answers."""
        return False

    @property
    def is_echoed(self) -> bool:
        """True if each answer begins with its prompt."""
        return False

    def most_likely(self) -> int | None:
        """The number of most likely tokens to report for each token; None without log probabilities."""
        return None

    def wants_usage(self) -> bool:
        """True if a stream ends with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


def choice_in_json(choice: msgspec.Struct) -> bytes:
    """The JSON of a choice in a chunk."""
    return on_one_line(msgspec.json.encode(choice))


S = TypeVar("S", bound=Sampled)
C = TypeVar("C", bound=msgspec.Struct)
"""A chunk of a stream."""


class KeptChat(msgspec.Struct, frozen=True):
    """The facts of a chat to store: id and time of its answer, its messages as they came, and its metadata."""

    id: str
    created: int
    messages: Sequence[dict[str, Any]]
    metadata: Mapping[str, str]


class OpenAIRequest(CompletionRequest, frozen=True, kw_only=True):
    """A request for completions, with the extra fields of OpenAI's formats.

    They request the usage in a stream, an echo of the prompts, and the deprecated form of tool calls.
    """

    include_usage: bool = False
    echo: bool = False
    old_functions: bool = False
    kept: KeptChat | None = None


class CompletionOptions(msgspec.Struct, frozen=True):
    """Settings for requests for completions: model names, and the match policy."""

    names: Names = Names()
    policy: MatchPolicy = MatchPolicy()
    strict: bool = False
    reasoning: int = 0
    """Tokens of reasoning before each answer of a chat or a response."""


class SampledWire(OpenAIWire[OpenAIRequest, Completion], Generic[S, C]):
    """A format with :class:`Sampled` requests and streams of chunks."""

    kind: ClassVar[type[Sampled]]
    left_out: ClassVar[IgnoredFields]
    ends = (END,)

    def __init__(self, options: CompletionOptions) -> None:
        self._options = options
        self._decoder: msgspec.json.Decoder[S] = msgspec.json.Decoder(self.kind)
        # Constant parts of all streams: at most one per index of an answer, and per finish reason.
        self._text_template = cache(lambda index: Template.of(self.choice(index, MARKER)))
        self._end = cache(lambda index, reason: choice_in_json(self.choice(index, None, reason)))

    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> OpenAIRequest:
        data = decode(self._decoder, body)
        known.model = data.model
        data.check()
        options = self._options
        ignored = self.ignored(data)
        if ignored and options.strict:
            raise not_acted_on(ignored[0])
        policy = options.policy if overrides is NO_OVERRIDES else overrides.policy(options.policy)
        known.version = version = options.names.version_of(data.model)
        limits, reasoning = data.limits(), 0
        if options.reasoning and data.has_reasoning:
            limits, reasoning = limits.after_reasoning(options.reasoning)
        request = OpenAIRequest(
            model=data.model,
            version=version,
            prompts=await self.prompts(data),
            sampling=data.sampling(),
            limits=limits,
            reasoning=reasoning,
            policy=policy,
            stream=bool(data.stream),
            logprobs=data.most_likely(),
            include_usage=data.stream_options is not None and data.wants_usage(),
            echo=data.is_echoed,
            ignored=ignored,
            tool_mode=None if overrides is NO_OVERRIDES else overrides.tool_mode(),
        )
        return await self.extend(request, data)

    def streams(self, request: OpenAIRequest) -> bool:
        return request.stream

    def events(self, request: OpenAIRequest, result: Completion) -> EventPlan:
        """The stream: the opening, a chunk for each token, the ends of the answers, and the usage."""
        usage = OpenAIUsage.of(result.usage) if request.include_usage else None
        blank = self.blank(request, None if usage else msgspec.UNSET)
        before, after = frames([blank]).split(_NO_CHOICES)  # texts have these quotes escaped
        chunk = Template(before + b'"choices":[', b"]" + after)
        streams = [self.stream(chunk, index, answer, request) for index, answer in enumerate(result.answers)]
        opening = b"".join(map(chunk.fill, self.opening(request, result)))
        ending = frames([msgspec.structs.replace(blank, usage=usage)]) + DONE if usage else DONE
        steps = streams[0] if len(streams) == 1 else InTurn(streams)
        return EventPlan(opening, steps, ending, result.usage.completion_tokens)

    def stream(self, chunk: Template, index: int, answer: Answer, request: OpenAIRequest) -> Steps:
        """The chunks of one answer. ``chunk`` is the template around the choice."""
        end = chunk.fill(self._end(index, answer.finish_reason))
        template = chunk.around(self._text_template(index))
        if request.logprobs is None:
            return TokenStream(template, answer.tokens, end)
        return with_logprobs(template, answer.tokens, self.logprobs(index, answer, request), end)

    def is_relayed(self, request: OpenAIRequest) -> bool:
        return True

    def given(self, body: bytes, *, is_stream: bool) -> Given | None:
        return given_choices(body, is_stream=is_stream)

    def identified(self, request: OpenAIRequest, answer_id: str) -> OpenAIRequest:
        if request.kept is None:
            return request
        return msgspec.structs.replace(request, kept=msgspec.structs.replace(request.kept, id=answer_id))

    def ignored(self, data: S) -> Sequence[str]:
        """The ignored fields that would change a model's answer."""
        return self.left_out.of(data)

    async def extend(self, request: OpenAIRequest, data: S) -> OpenAIRequest:
        """The request with the extra fields of this format. Raises RequestError."""
        return request

    @abstractmethod
    def logprobs(self, index: int, answer: Answer, request: OpenAIRequest) -> Iterable[msgspec.Struct]:
        """The log probabilities of each chunk that adds a token to the answer with this index."""

    @abstractmethod
    async def prompts(self, data: S) -> Sequence[Prompt]:
        """The prompts of a request. Raises RequestError."""

    @abstractmethod
    def blank(self, request: OpenAIRequest, usage: UsageField) -> C:
        """A chunk without choices."""

    @abstractmethod
    def choice(self, index: int, text: str | None, finish_reason: FinishReason | None = None) -> msgspec.Struct:
        """The choice of a chunk that adds a text or the end to an answer."""

    @abstractmethod
    def opening(self, request: OpenAIRequest, result: Completion) -> Iterable[bytes]:
        """The choices, in JSON, of the chunks before the answers: one choice per chunk."""
