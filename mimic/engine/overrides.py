"""Request headers that override settings. This module imports little, since settings import it."""

from typing import Final, Literal, TypeAlias

import msgspec

from mimic.corpus.ladder import DEPTHS, MatchPolicy
from mimic.errors import RequestError

ToolMode: TypeAlias = Literal["auto", "corpus", "always", "never"]
"""The rule for tool calls when a request leaves the choice to the model."""

MATCH_HEADER: Final = "x-mimic-match"
"""In a request: the lowest rung to try. In an answer: the rung of the match."""
PACE_HEADER: Final = "x-mimic-pace"
FIRST_HEADER: Final = "x-mimic-ttft-ms"
BETWEEN_HEADER: Final = "x-mimic-itl-ms"
FAULT_HEADER: Final = "x-mimic-fault"
"""In a request: the fault to inject. In an answer: the fault that was injected."""
TOOLS_HEADER: Final = "x-mimic-tools"
TOOL_SCORE: Final = 0.5
"""The default of the least likeness of a message and a tool for a call."""
TOOL_MODES: Final[tuple[ToolMode, ...]] = ("auto", "corpus", "always", "never")


class ToolOptions(msgspec.Struct, frozen=True):
    """The rule for tool calls when a request leaves it open, and the least likeness for a call."""

    mode: ToolMode = "auto"
    min_score: float = TOOL_SCORE


class Overrides(msgspec.Struct, frozen=True):
    """The overrides of a request, as its headers have them; None without a header.

    ``problem`` is the error of a header that does not parse. It is raised when the request is read.
    """

    match: str | None = None
    pace: str | None = None
    ttft: str | None = None
    itl: str | None = None
    fault: str | None = None
    tools: str | None = None
    problem: RequestError | None = None

    def policy(self, default: MatchPolicy) -> MatchPolicy:
        """The match policy with the rung that the request names. Raises RequestError if a header does not parse."""
        if self.problem:
            raise self.problem
        if self.match is None:
            return default
        depth = next((rung for rung in DEPTHS if rung == self.match), None)
        if depth is None:
            problem = f"expected one of {', '.join(DEPTHS)}, not {self.match!r}"
            raise invalid_header(MATCH_HEADER, problem)
        return msgspec.structs.replace(default, depth=depth, is_named=True)

    def tool_mode(self) -> ToolMode | None:
        """The rule for tool calls that the request names. Raises RequestError if the header does not parse."""
        if self.tools is None:
            return None
        mode = next((mode for mode in TOOL_MODES if mode == self.tools), None)
        if mode is None:
            raise invalid_header(TOOLS_HEADER, f"expected one of {', '.join(TOOL_MODES)}, not {self.tools!r}")
        return mode


NO_OVERRIDES: Final = Overrides()


def invalid_header(name: str, problem: str) -> RequestError:
    """The error of a header that does not parse."""
    return RequestError(400, f"Invalid header '{name}': {problem}.", param=name, code="invalid_value")
