"""The layout of a stored corpus: the number that this Mimic writes, and those that it still answers from.

A change of what a seeding writes raises :data:`LAYOUT`. If the former layout can still be answered from, it goes into
:data:`READABLE` with what it lacks, and stores keep the old lookup for it. Versions of a corpus may have been
seeded by different Mimics, so each entry of the manifest has its own number; the store has that of its newest entry.
"""

from typing import Final

from mimic.errors import UnusableStore

LAYOUT: Final = 3
"""The layout of what is seeded from now on."""
UNNUMBERED: Final = 2
"""The layout of an entry that has no number: Mimic 0.1 numbered stores only."""
READABLE: Final = frozenset({2})
"""Older layouts that are still answered from. 2: MongoDB has an index on digests, and none on `value` and `from`."""


def check_layout(layout: int, what: str, public: str, remedy: str) -> None:
    """Raises UnusableStore, with the remedy for what is too old, where this Mimic cannot answer from a layout.

    ``public`` names what has it for clients.
    """
    if layout == LAYOUT or layout in READABLE:
        return
    known = f"this Mimic reads layouts {min(READABLE)} to {LAYOUT}"
    problem = f"has layout {layout} of an earlier Mimic, {known}: {remedy}"
    if layout > LAYOUT:
        problem = f"has layout {layout} of a newer Mimic, {known}: upgrade Mimic, or use another store"
    raise UnusableStore(f"{what} {problem}", public=f"{public} {problem}")
