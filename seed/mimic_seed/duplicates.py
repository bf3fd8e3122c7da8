"""Counts conversations whose id an earlier one has. Pure."""

from typing import Final

MOST_IDS: Final = 250_000
"""Ids to compare with: the first ones, about 16 MB of them."""


class Duplicates:
    """Counts repeated ids. ``count`` is too low if the corpus has more than :data:`MOST_IDS` ids."""

    def __init__(self) -> None:
        self.count = 0
        self._hashes: set[int] = set()

    def add(self, name: str | None) -> None:
        """Count the id of the next conversation. A conversation without an id is no duplicate."""
        if name is None:
            return
        number = hash(name)
        if number in self._hashes:
            self.count += 1
        elif len(self._hashes) < MOST_IDS:
            self._hashes.add(number)
