"""Fields of OpenAI's requests that Mimic ignores, and their values that would change a model's answer."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, TypeAlias

from mimic.errors import RequestError

Matters: TypeAlias = Callable[[Any], bool]

SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,40}").fullmatch
"""Match a word of a client that is safe in a header."""
OTHER: Final = "other"


def _is_given(_value: Any) -> bool:
    return True


def _is_more_than_text(modalities: Any) -> bool:
    return bool(modalities != ["text"])


def _is_not_medium(verbosity: Any) -> bool:
    return bool(verbosity != "medium")


OF_BOTH: Final[Mapping[str, Matters]] = {
    "frequency_penalty": bool,
    "presence_penalty": bool,
    "logit_bias": bool,
}
"""Fields of chats and prompts. A null value never matters."""
OF_CHATS: Final[Mapping[str, Matters]] = {
    **OF_BOTH,
    "reasoning_effort": _is_given,
    "verbosity": _is_not_medium,
    "modalities": _is_more_than_text,
    "audio": _is_given,
    "web_search_options": _is_given,
    "moderation": _is_given,
}
OF_PROMPTS: Final[Mapping[str, Matters]] = {**OF_BOTH, "best_of": lambda best: bool(best != 1), "suffix": bool}


class IgnoredFields:
    """The ignored fields of one kind of request."""

    def __init__(self, table: Mapping[str, Matters]) -> None:
        self._table = table
        self._values = attrgetter(*table)
        self._nothing = (None,) * len(table)

    def of(self, data: object) -> Sequence[str]:
        """The names of ignored fields whose values would change a model's answer."""
        values = self._values(data)
        if values == self._nothing:
            return ()
        return [
            name
            for (name, matters), value in zip(self._table.items(), values, strict=True)
            if value is not None and matters(value)
        ]


def ignored_parts(kinds: Iterator[str]) -> Sequence[str]:
    """The names of ignored content parts, each once."""
    return list(dict.fromkeys(f"messages.content.{kind if SAFE_NAME(kind) else OTHER}" for kind in kinds))


def not_acted_on(name: str) -> RequestError:
    """The error for an ignored field if MIMIC_STRICT is on."""
    return RequestError(
        400,
        f"Unsupported parameter: Mimic does not act on '{name}'. With MIMIC_STRICT=off it is ignored and named in the "
        "header x-mimic-ignored.",
        param=name,
        code="unsupported_parameter",
    )
