"""What requests for completions have in common: the fields that are acted on, and what they mean.

Every other field of OpenAI's is accepted and ignored.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, TypeAlias

import msgspec

from mimic import tokens
from mimic.engine.retrieval import Limits
from mimic.engine.sampling import Sampling
from mimic.server.errors import ApiError

MOST_ANSWERS: Final = 128

Texts: TypeAlias = str | Annotated[Sequence[str | int | Sequence[int]], msgspec.Meta(min_length=1)]
"""One text or several, each as a string or as its tokens."""
Penalty: TypeAlias = Annotated[float, msgspec.Meta(ge=-2, le=2)]


class StreamOptions(msgspec.Struct, frozen=True):
    """With ``include_usage`` a stream ends with the usage."""

    include_usage: bool | None = None


class Sampled(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose answer is drawn. A field that is null takes its default."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_ANSWERS)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
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
        """How to draw."""
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            n=self.n or 1,
            seed=self.seed,
        )

    def limits(self) -> Limits:
        """Where to end."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or ()
        return Limits(stop, self.max_tokens)

    def check(self) -> None:
        """Raises ApiError where fields do not go together."""
        if self.stream_options and not self.stream:
            raise ApiError(
                400,
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
                param="stream_options",
                code="invalid_parameter_combination",
            )

    def wants_usage(self) -> bool:
        """Whether a stream is to end with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


class Input(msgspec.Struct, frozen=True):
    """A text that was given, and how many tokens it has."""

    text: str
    tokens: int


async def inputs_of(given: Texts, param: str) -> list[Input]:
    """The texts that a field holds: a text, several, the tokens of one, or those of several.

    Raises ApiError where it holds numbers that are no tokens, or a mixture.
    """
    texts = [given] if isinstance(given, str) else [one for one in given if isinstance(one, str)]
    if len(texts) == len(given) or isinstance(given, str):
        encoded = await tokens.encode_all(texts)
        return [Input(text, len(numbers)) for text, numbers in zip(texts, encoded, strict=True)]
    if all(isinstance(one, int) for one in given):
        return [_decoded([one for one in given if isinstance(one, int)], param)]
    lists = [one for one in given if not isinstance(one, (str, int))]
    if len(lists) < len(given):
        raise ApiError(
            400,
            f"Invalid type for '{param}': expected all texts, all tokens or all lists of tokens, but got a mixture.",
            param=param,
            code="invalid_type",
        )
    return [_decoded(one, f"{param}[{index}]") for index, one in enumerate(lists)]


def _decoded(numbers: Sequence[int], path: str) -> Input:
    try:
        return Input(tokens.text_of(numbers), len(numbers))
    except UnicodeDecodeError:
        problem = "its tokens do not make whole characters"
    except (ValueError, OverflowError):
        problem = "it holds numbers that are not tokens of o200k_base"
    raise ApiError(400, f"Invalid '{path}': {problem}.", param=path, code="invalid_value")
