"""The headers by which a request chooses for itself what settings choose for all. Light: settings import it."""

from typing import Final, Literal, TypeAlias

import msgspec

from mimic.corpus.ladder import RUNGS, MatchPolicy
from mimic.errors import RequestError

ToolMode: TypeAlias = Literal["auto", "always", "never"]
"""When tools are called where a request leaves it to the model."""

MATCH_HEADER: Final = "x-mimic-match"
"""In a request the lowest rung to try, in an answer the rung that it was found on."""
PACE_HEADER: Final = "x-mimic-pace"
FIRST_HEADER: Final = "x-mimic-ttft-ms"
BETWEEN_HEADER: Final = "x-mimic-itl-ms"
FAULT_HEADER: Final = "x-mimic-fault"
"""In a request the fault that it is to get, in an answer the one that it got."""
TOOLS_HEADER: Final = "x-mimic-tools"
TOOL_SCORE: Final = 0.5
"""How like a tool a message has to be, by default."""
TOOL_MODES: Final[tuple[ToolMode, ...]] = ("auto", "always", "never")


class ToolOptions(msgspec.Struct, frozen=True):
    """When tools are called where a request leaves it open, and how like a tool a message has to be."""

    mode: ToolMode = "auto"
    min_score: float = TOOL_SCORE


class Overrides(msgspec.Struct, frozen=True):
    """What a request chooses in place of the settings, as its headers have it; None where it chooses nothing.

    ``problem`` is the error of a header that does not parse, which is told when the request is read.
    """

    match: str | None = None
    pace: str | None = None
    ttft: str | None = None
    itl: str | None = None
    fault: str | None = None
    tools: str | None = None
    problem: RequestError | None = None

    def policy(self, default: MatchPolicy) -> MatchPolicy:
        """The match policy with the rung that the request names. Raises RequestError where a header does not parse."""
        if self.problem:
            raise self.problem
        if self.match is None:
            return default
        depth = next((rung for rung in RUNGS if rung == self.match), None)
        if depth is None:
            problem = f"expected one of {', '.join(RUNGS)}, not {self.match!r}"
            raise invalid_header(MATCH_HEADER, problem)
        return MatchPolicy(depth, default.min_score, is_named=True)

    def tool_mode(self) -> ToolMode | None:
        """When the request has tools called that leave it open. Raises RequestError where the header does not parse."""
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
