"""Tracks the unfinished string or number at the end of a piece of JSON text, which the parser keeps in memory."""

_NUMBER = b"+-.0123456789Ee"


class StringTracker:
    """Follows valid JSON text, in pieces that split no escape.

    ``in_string`` is True if the text ends inside a string. ``size`` is the size in bytes of the unfinished string or
    number. For a string, it is a lower bound, with escapes resolved. ``number`` is the size in bytes of a number at the
    beginning of the last piece, with its bytes in earlier pieces.
    """

    def __init__(self) -> None:
        self.in_string = False
        self.size = 0
        self.number = 0

    def follow(self, data: bytes) -> None:
        """Process the next piece."""
        self.number = 0 if self.in_string else self.size + len(data) - len(data.lstrip(_NUMBER))
        plain = _without_escaped_quotes(data)
        if quotes := plain.count(b'"'):
            self.in_string ^= quotes % 2 == 1
            self.size = 0
            data = data[plain.rfind(b'"') + 1 :]
        if self.in_string:
            self.size += _least_size(data)
        else:
            digits = len(data) - len(data.rstrip(_NUMBER))
            self.size = digits + (self.size if digits == len(data) else 0)


def end_of_string(data: bytes) -> int:
    """The end of the string in which this text begins, or the end of the text."""
    end = _without_escaped_quotes(data).find(b'"')
    return len(data) if end < 0 else end


def _without_escaped_quotes(data: bytes) -> bytes:
    """The text with escaped quotes masked: each remaining quote begins or ends a string, at the same position."""
    return data.replace(rb"\\", b"__").replace(rb"\"", b"__")


def _least_size(text: bytes) -> int:
    """The least number of bytes of a part of a string. An escape of two or six bytes becomes one or more."""
    backslashes = text.count(b"\\")
    if not backslashes:
        return len(text)
    escapes = backslashes - text.count(rb"\\")
    return len(text) - escapes - 4 * text.replace(rb"\\", b"__").count(rb"\u")
