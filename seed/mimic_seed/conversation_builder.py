"""Builds conversations from the events of a JSON parser, and reports the problems of broken ones."""

from collections.abc import Callable
from typing import Any

import ijson

from mimic.corpus.conversation import Conversation, Message
from mimic.corpus.manifest import Skipped
from mimic.corpus.sizes import LARGEST_DOCUMENT, fits, message_size

FIELD, ITEM, TEXT = 1, 2, 3
"""Depths below an element of the dump: of its fields, of the items of its messages, and of a message's fields."""

DEEPEST = 1_048_576
"""The deepest nesting of arrays and objects; the parser needs a byte for each level."""

SHOWN_OF_ID = 100
"""Characters of a skipped conversation's id in reports."""

CONVERSATION_SHAPE = '{"id", "conversations": [{"from", "value"}, ...]}'
"""The shape of a conversation."""

OTHER_SHAPES = frozenset(
    {
        *("messages", "conversation", "items", "dialog", "dialogue", "dialogs", "turns", "chat", "chat_messages"),
        *("history", "mapping", "data", "rows", "instruction", "prompt", "question", "text", "chosen", "error"),
    }
)
"""Fields in which other formats have their messages. They are not read, only named in reports."""

_KEPT = frozenset({"from", "value"})
_INSTEAD = {"from": ("role", "user", "assistant"), "value": ("content", "text", "markdown")}
"""Fields of a message that are kept, and their names in other formats."""
_OTHER_NAMES = frozenset(name for names in _INSTEAD.values() for name in names)

_MISSING = object()


class TooDeep(ValueError):
    """Arrays and objects are nested too deeply."""

    def __init__(self) -> None:
        super().__init__(f"expected arrays and objects nested less than {DEEPEST:,} deep")


class ConversationBuilder:
    """Builds conversations from ijson's events.

    Depth counts the open arrays and objects; elements of the dump open at ``depth``. Other data are ignored.
    """

    def __init__(self, depth: int) -> None:
        self.events = ijson.sendable_list()
        self.unusable_ids = 0
        self.finished: list[Conversation | Skipped] = []
        self._element_depth = depth
        self._depth = 0
        self._position = 0
        self._in_messages = False
        self._in_message = False
        self._field = ""
        self._begin_element()
        self._handlers: dict[str, Callable[[Any], None]] = {
            "map_key": self._key,
            "start_map": lambda _: self._open(is_object=True),
            "start_array": lambda _: self._open(is_object=False),
            "end_map": self._close,
            "end_array": self._close,
        }

    @property
    def between_elements(self) -> bool:
        return self._depth == self._element_depth

    def lone_surrogate(self) -> None:
        """Report that the next text to parse has a lone surrogate, which UTF-8 cannot encode.

        In a message, it makes the conversation broken. In an id, the id is dropped. In other fields it is ignored.
        """
        depth = self._depth - self._element_depth
        if depth == FIELD and self._awaits_id:
            self._id_has_surrogate = True
        elif self._in_messages and (depth == TEXT and self._text_field in _KEPT if self._in_message else depth == ITEM):
            self._blame("lone surrogate", f"message {len(self._messages)} holds a lone surrogate", wholly=True)

    def process_events(self) -> None:
        """Process the new events."""
        handlers = self._handlers
        for event, value in self.events:
            handlers.get(event, self._scalar)(value)
        self.events.clear()

    def _key(self, key: str) -> None:
        if self._depth == self._element_depth + FIELD:
            self._begin_value(key)
        elif self._depth == self._element_depth + TEXT:
            self._text_field = key

    def _open(self, *, is_object: bool) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise TooDeep
        depth = self._depth - self._element_depth
        if depth == FIELD:
            self._begin_element()
            if not is_object:
                self._blame("a list instead of an object")
        elif depth == ITEM:
            self._begin_field(is_object=is_object)
        elif depth == TEXT and self._in_messages:
            self._begin_item(is_object=is_object)
        elif depth == TEXT + 1:
            self._depth -= 1
            self._scalar(None)
            self._depth += 1

    def _close(self, _: None) -> None:
        self._depth -= 1
        depth = self._depth - self._element_depth
        if depth == ITEM and self._in_messages:
            self._end_item()
        elif depth == FIELD:
            self._in_messages = False
        elif depth == 0:
            self._end_element()

    def _scalar(self, value: Any) -> None:
        depth = self._depth - self._element_depth
        if depth == TEXT and self._in_message:
            if self._text_field in _KEPT or self._text_field in _OTHER_NAMES:
                self._texts[self._text_field] = value
            self._text_field = ""  # until the next key
        elif depth == ITEM and self._in_messages:
            self._blame("a message is not an object", f"message {len(self._messages)} is not an object")
        elif depth == FIELD:
            if self._field == "id":
                self._take_id(value)
            elif self._field == "conversations":
                self._has_messages = True
                self._blame("`conversations` is not an array")
        elif depth == 0:
            self._begin_element()
            self._blame("not an object")
            self._end_element()

    def _begin_element(self) -> None:
        self._problems: dict[str | None, tuple[str, str]] = {}
        self._id: str | None = None
        self._awaits_id = False
        self._id_has_surrogate = False
        self._id_is_unusable = False
        self._other_shape = ""
        self._messages: list[Message] = []
        self._characters = 0
        self._has_messages = False
        self._in_messages = False
        self._in_message = False
        self._field = ""
        self._text_field = ""
        self._texts: dict[str, Any] = {}

    def _begin_value(self, field: str) -> None:
        """Begin the value of a field. If a field comes twice, the last value counts, as in most JSON parsers."""
        self._field = field
        self._problems.pop(field, None)
        if field == "id":
            self._id = None
            self._awaits_id = True
            self._id_has_surrogate = self._id_is_unusable = False
        elif field == "conversations":
            self._messages = []
            self._characters = 0
        elif field in OTHER_SHAPES:
            self._other_shape = self._other_shape or field

    def _begin_field(self, *, is_object: bool) -> None:
        if self._field == "conversations":
            self._in_messages = not is_object
            self._has_messages = True
            if is_object:
                self._blame("`conversations` is not an array")
        elif self._field == "id":
            self._take_id(_MISSING)

    def _begin_item(self, *, is_object: bool) -> None:
        self._in_message = is_object
        self._text_field = ""
        self._texts = {}
        if not is_object:
            self._blame("a message is not an object", f"message {len(self._messages)} is not an object")

    def _end_item(self) -> None:
        if self._in_message:
            sender, value = self._text("from"), self._text("value")
            self._characters += message_size(sender, value)
            self._messages.append(Message(sender, value))
            if self._characters > LARGEST_DOCUMENT:
                self._too_large()
        self._in_message = False

    def _text(self, name: str) -> str:
        text = self._texts.get(name, _MISSING)
        if isinstance(text, str):
            return text
        where = f"message {len(self._messages)}"
        other = next((other for other in _INSTEAD[name] if other in self._texts), "")
        if text is _MISSING and other:
            self._blame(f"a message with `{other}` instead of `{name}`", f"{where} has `{other}` instead of `{name}`")
        elif text is _MISSING:
            self._blame(f"a message without `{name}`", f"{where} has no `{name}`")
        else:
            self._blame(f"`{name}` is not a string", f"`{name}` of {where} is not a string")
        return ""

    def _take_id(self, value: Any) -> None:
        """Take a string or a number as the id. The conversation does not keep any other id."""
        self._awaits_id = False
        if value is None or (isinstance(value, str) and not self._id_has_surrogate):
            self._id = value
        elif value is _MISSING or isinstance(value, bool | str):
            self._id_is_unusable = True
        else:
            self._id = str(value)

    def _end_element(self) -> None:
        if not self._has_messages and self._other_shape:
            self._blame(f"with `{self._other_shape}` instead of `conversations`")
        elif not self._has_messages:
            self._blame("without `conversations`")
        conversation = Conversation(self._id, self._messages)
        if not self._problems and not fits(conversation):
            self._too_large()
        if self._problems:
            name = None if self._id is None else self._id[:SHOWN_OF_ID]
            self.finished.append(Skipped(self._position, name, *next(iter(self._problems.values()))))
        else:
            self.unusable_ids += self._id_is_unusable
            self.finished.append(conversation)
        self._position += 1

    def _too_large(self) -> None:
        self._messages = []
        self._characters = 0
        self._blame("larger than 16 MiB", "as one document it is larger than 16 MiB, the limit of MongoDB")

    def _blame(self, reason: str, detail: str = "", *, wholly: bool = False) -> None:
        """Mark the element as broken: ``wholly``, or by the value of the current field. The first problem counts."""
        self._problems.setdefault(None if wholly else self._field, (reason, detail))
