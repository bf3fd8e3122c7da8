"""A hook of Schemathesis that leaves out most of the cases that differ little from each other.

Two thirds of the cases of its coverage phase are values of a wrong type, six for each field, and objects with every
pair of optional fields. This hook keeps the first case of each field and object, and every eighth of the others.
"""

from collections import Counter
from collections.abc import Hashable
from typing import Any, Final

import schemathesis
from schemathesis.generation.case import Case
from schemathesis.generation.meta import CoveragePhaseData, CoverageScenario

NUMEROUS: Final = (CoverageScenario.INCORRECT_TYPE, CoverageScenario.VALID_OBJECT)
KEPT: Final = 8
"""The number of similar cases of which one is sent."""

_similar: Counter[Hashable] = Counter()


@schemathesis.hook
def filter_case(_context: schemathesis.HookContext, case: Case[Any]) -> bool:
    """Return True for a case to send."""
    data = case.meta.phase.data if case.meta else None
    if not isinstance(data, CoveragePhaseData) or data.scenario not in NUMEROUS:
        return True
    field = (case.operation.label, data.scenario, data.parameter, data.location)
    _similar[field] += 1
    if _similar[field] == 1:
        return True
    _similar[None] += 1
    return _similar[None] % KEPT == 0
