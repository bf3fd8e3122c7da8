"""Builds conversations from the events of a JSON parser, and reports the problems of broken ones."""

from collections import Counter
from typing import Any

import ijson

from mimic.corpus.conversation import Conversation
from mimic.corpus.manifest import Skipped
from mimic.corpus.sizes import LARGEST_DOCUMENT, fits
from mimic_seed.formats import OUTSIDE, WITHOUT_MESSAGES, id_of, messages_in
from mimic_seed.formats.base import UNUSABLE, Broken, Unreadable
from mimic_seed.shapes import ELEMENT, MESSAGE, MESSAGES, Region

DEEPEST = 1_048_576
"""The deepest nesting of arrays and objects; the parser needs a byte for each level."""

DEEPEST_KEPT = 64
"""The deepest nesting in an element whose values are kept."""

LARGEST_ELEMENT = LARGEST_DOCUMENT + 1024 * 1024
"""Approximate memory of an element in bytes, with the fields that the conversation does not keep."""

LARGEST_TREE = 4 * LARGEST_DOCUMENT
"""The same for a tree of messages, which has side branches and more fields."""

SHOWN_OF_ID = 100
"""Characters of a skipped conversation's id in reports."""

SHOWN_FIELDS = 5
"""Fields of an element of an unknown shape that reports name."""

TOO_LARGE = ("larger than 16 MiB", "as one document it is larger than 16 MiB, the limit of MongoDB")
MIXED = ("a list of messages with other elements", "")

_KNOWN = ELEMENT.keys or frozenset()
_COST_OF_MESSAGE = MESSAGES.scalar_cost + MESSAGE.cost
KEPT_OF_MESSAGE = MESSAGE.keys or frozenset()


class TooDeep(ValueError):
    """Arrays and objects are nested too deeply."""

    def __init__(self) -> None:
        super().__init__(f"expected arrays and objects nested less than {DEEPEST:,} deep")


class ConversationBuilder:
    """Builds conversations from ijson's events.

    Depth counts the open arrays and objects; elements of the file open at ``depth``. Only values that a format reads
    are kept (:mod:`mimic_seed.shapes`). If the elements are messages, the whole array is one conversation.
    """

    def __init__(self, depth: int) -> None:
        self.events = ijson.sendable_list()
        self.unusable_ids = 0
        self.left_out: Counter[str] = Counter()
        self.finished: list[Conversation | Skipped] = []
        self._element_depth = depth
        self._depth = 0
        self._position = 0
        self._stack: list[tuple[Any, Region]] = []
        self._key = ""
        self._skipped_from = -1
        """The depth around a value that is not kept; -1 outside of one."""
        self._is_broken = False
        self._cost = 0
        self._problem: tuple[str, str] | None = None
        self._dropped_id: str | None = None
        self._fields: list[str] = []
        self._bare: list[Any] | None = None
        self._bare_cost = 0
        self._bare_problem: tuple[str, str] | None = None

    @property
    def between_elements(self) -> bool:
        return self._depth == self._element_depth

    def lone_surrogate(self) -> None:
        """Report that the next text to parse has a lone surrogate, which UTF-8 cannot encode."""
        self._is_broken = True

    def process_events(self) -> None:  # noqa: C901, PLR0912 - one pass over the events, one branch a kind
        """Process the new events."""
        stack = self._stack
        for event, value in self.events:
            if event == "map_key":
                self._is_broken = False
                if self._skipped_from < 0:
                    self._key = value
                    if stack[-1][1].keys is None:
                        self._count(len(value) + 16)
                    elif len(stack) == 1 and value not in _KNOWN and len(self._fields) < SHOWN_FIELDS:
                        self._fields.append(value[:SHOWN_OF_ID])
            elif event == "string" and self._skipped_from < 0 and stack and not self._is_broken:
                container, place = stack[-1]
                if place.is_message:  # most of all values
                    if self._key in KEPT_OF_MESSAGE:
                        container[self._key] = value
                        self._cost += len(value)
                else:
                    self._keep(value)
            elif event == "start_map" or event == "start_array":  # noqa: PLR1714 - faster than a tuple
                self._depth += 1
                if self._depth > DEEPEST:
                    raise TooDeep
                if self._skipped_from < 0:
                    self._open(is_object=event == "start_map")
            elif event == "end_map" or event == "end_array":  # noqa: PLR1714 - as above
                self._depth -= 1
                if self._skipped_from >= 0:
                    if self._depth == self._skipped_from:
                        self._skipped_from = -1
                        if not stack and self.between_elements:
                            self._end_element(None)
                elif stack:
                    closed, _ = stack.pop()
                    if not stack:
                        self._end_element(closed)
                else:
                    self._end_document()
            elif self._skipped_from >= 0:
                self._is_broken = False
            else:
                if self._is_broken and event == "string":
                    value, self._is_broken = Broken(), False  # noqa: PLW2901 - without its text
                if stack:
                    self._keep(value)
                else:
                    self._end_element(value)
        self.events.clear()

    def _keep(self, value: Any) -> None:
        container, place = self._stack[-1]
        if type(container) is dict:
            if place.keys is not None and self._key not in place.keys:
                return
            container[self._key] = value
        else:
            container.append(value)
        self._cost += place.scalar_cost + (len(value) if type(value) is str else 0)
        if self._cost > LARGEST_ELEMENT:
            self._count(0)

    def _count(self, cost: int) -> None:
        """Count the memory of kept values. An element that is too large is dropped, except for its id."""
        self._cost += cost
        if self._cost <= LARGEST_ELEMENT or self._problem:
            return
        element = self._stack[0][0]
        if isinstance(element, dict) and "mapping" in element and self._cost <= LARGEST_TREE:
            return
        self._problem = TOO_LARGE
        name = id_of(element)[0]
        self._dropped_id = name if name is None else name[:SHOWN_OF_ID]
        self._stack.clear()
        self._skipped_from = self._element_depth

    def _open(self, *, is_object: bool) -> None:
        if self._depth == self._element_depth:  # the array of the document
            return
        container: Any = {} if is_object else []
        if not self._stack:
            self._cost, self._problem, self._dropped_id = 0, None, None
            self._fields.clear()
            self._stack.append((container, ELEMENT if is_object else MESSAGES))
            return
        parent, place = self._stack[-1]
        if place is MESSAGES and is_object:  # most of all objects
            parent.append(container)
            self._stack.append((container, MESSAGE))
            self._count(_COST_OF_MESSAGE)
            return
        field = self._key if type(parent) is dict else ""
        if place.keys is not None and field not in place.keys:
            self._skipped_from = self._depth - 1
            return
        inner = (place.objects if is_object else place.arrays).get(field) or place.other
        is_kept = inner is not None and len(self._stack) <= DEEPEST_KEPT
        self._keep(container if is_kept else UNUSABLE)
        if self._problem:  # the element was dropped
            return
        if inner is None or not is_kept:
            self._skipped_from = self._depth - 1
            return
        self._stack.append((container, inner))
        self._count(inner.cost)

    def _end_element(self, element: Any) -> None:
        found: Counter[str] = Counter()
        name, is_unusable = id_of(element)
        problem = self._problem
        if not problem:
            try:
                conversation = Conversation(name, messages_in(element, found))
            except Unreadable as exc:
                if exc.reason == OUTSIDE and self._is_bare(element):
                    return
                problem = exc.reason, exc.detail
                if self._fields and isinstance(element, dict) and exc.reason == WITHOUT_MESSAGES:
                    names = ", ".join(f"`{field}`" for field in self._fields)
                    problem = exc.reason, f"it has {names}, and no messages"
            else:
                problem = None if fits(conversation) else TOO_LARGE
        dropped_id, self._problem, self._dropped_id = self._dropped_id, None, None
        if self._bare is not None:
            self._bare_problem = self._bare_problem or MIXED
        elif problem:
            shown = dropped_id if name is None else name[:SHOWN_OF_ID]
            self.finished.append(Skipped(self._position, shown, *problem))
        else:
            self.unusable_ids += is_unusable
            self.left_out.update(found)
            self.finished.append(conversation)
        self._position += 1

    def _is_bare(self, message: dict[str, Any]) -> bool:
        """Take an element that is a message of a bare list. False if the list has begun with other elements."""
        if self._bare is None:
            if self._element_depth == 0 or self._position:
                return False
            self._bare = []
        self._position += 1
        self._bare_cost += self._cost + ELEMENT.cost
        if self._bare_cost > LARGEST_ELEMENT:
            self._bare_problem = self._bare_problem or TOO_LARGE
        if self._bare_problem:
            self._bare.clear()
        else:
            self._bare.append(message)
        return True

    def _end_document(self) -> None:
        """Make a conversation of a bare list of messages."""
        if self._bare is None:
            return
        bare, problem, self._bare, self._bare_problem = self._bare, self._bare_problem, None, None
        self._position = 0
        self._problem = problem
        self._end_element(bare)
