"""Calls of the upstream, as traces show them."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from mimic.engine.base import Usage


class UpstreamCall:
    """A call of the upstream. This class shows nothing; a server with traces has a subclass."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that continue the trace at the upstream."""
        return {}

    def answered(self, status: int) -> None:
        """The upstream has sent the head of its answer."""

    def used(self, usage: Usage) -> None:
        """The answer is complete."""

    def failed(self, cause: str) -> None:
        """The connection failed, or the answer was cut. ``cause`` is the name of an error."""

    def end(self) -> None:
        """Nothing more comes."""


Watch: TypeAlias = Callable[[str, str], UpstreamCall]
"""Begins a call to a URL, with the name of a model."""


def unwatched(url: str, model: str) -> UpstreamCall:
    """A call that traces do not show."""
    return UpstreamCall()
