"""The branch of a tree that was taken: from its last node back to its root. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from mimic_seed.formats.base import Unreadable


def branch_to(last: Any, parents: Mapping[str, Any]) -> Sequence[str]:
    """The nodes from the root to the ``last`` node, by the parent of each node.

    Without a known last node, it is the only node that has no children. Raises Unreadable if there are several, and if
    the parents form a cycle.
    """
    if last not in parents:
        leaves = parents.keys() - set(filter(_is_text, parents.values()))
        if len(leaves) != 1:
            raise Unreadable("a tree of messages without its current one")
        [last] = leaves
    branch: list[str] = []
    visited: set[str] = set()
    while _is_text(last) and last in parents:
        if last in visited:
            raise Unreadable("a tree of messages with a cycle")
        visited.add(last)
        branch.append(last)
        last = parents[last]
    return branch[::-1]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
