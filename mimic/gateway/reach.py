"""How far down the ladder a request goes: by the settings, and by what it says itself."""

from typing import Any, Final

from litestar import Request

from mimic.corpus.ladder import RUNGS, MatchPolicy
from mimic.server.errors import ApiError
from mimic.settings import Settings

MATCH_HEADER: Final = "x-mimic-match"
"""In a request how far down to go, in an answer on which rung it was found."""
SCORE_HEADER: Final = "x-mimic-score"


def reach_of(request: Request[Any, Any, Any], settings: Settings) -> MatchPolicy:
    """How far a request goes by its header, else by the settings. Raises ApiError where the header does not parse."""
    named = request.headers.get(MATCH_HEADER)
    depth = next((rung for rung in RUNGS if rung == named), None)
    if named is not None and depth is None:
        problem = f"expected one of {', '.join(RUNGS)}, not {named!r}"
        raise ApiError(400, f"Invalid header '{MATCH_HEADER}': {problem}.", param=MATCH_HEADER, code="invalid_value")
    return MatchPolicy(depth or settings.match, settings.min_score)
