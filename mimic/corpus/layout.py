"""The layout number of a stored corpus: the number that this Mimic writes, and older ones that it can read.

Increase :data:`LAYOUT` with each change of the data that a seeding writes. If the former layout is still readable, add
it to :data:`READABLE` with the differences; stores keep the old lookup for it. Different releases of Mimic may have
seeded the versions of a corpus, so each entry of the manifest has its own number. The store has the number of its
newest entry.
"""

from typing import Final

from mimic.errors import UnusableStore

LAYOUT: Final = 3
"""The layout that seedings write."""
UNNUMBERED: Final = 2
"""The layout of an entry without a number: Mimic 0.1 numbered stores only."""
READABLE: Final = frozenset({2})
"""Older layouts that can be read. 2: MongoDB has an index on digests, and none on `value` and `from`."""


def check_layout(layout: int, name: str, public: str, remedy: str) -> None:
    """Raises UnusableStore if this Mimic cannot read a layout. ``remedy`` is for layouts that are too old.

    ``name`` is the file or database in the log, ``public`` its name for clients.
    """
    if layout == LAYOUT or layout in READABLE:
        return
    known = f"this Mimic reads layouts {min(READABLE)} to {LAYOUT}"
    problem = f"has layout {layout} of an earlier Mimic, {known}: {remedy}"
    if layout > LAYOUT:
        problem = f"has layout {layout} of a newer Mimic, {known}: upgrade Mimic, or use another store"
    raise UnusableStore(f"{name} {problem}", public=f"{public} {problem}")
