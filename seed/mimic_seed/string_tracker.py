"""The string or number that a piece of JSON text breaks off in: a parser holds all of it until its end comes."""

_NUMBER = b"+-.0123456789Ee"


class StringTracker:
    """Follows JSON text that no error was found in, in pieces that no escape is cut in two by.

    ``in_string`` says whether it breaks off in a string. ``size`` are the bytes of that string so far, or of a number:
    those of a string with its escapes resolved, rather fewer than there are. ``number`` are the bytes of the number, if
    it is one, that the last piece began with, with those in the pieces before.
    """

    def __init__(self) -> None:
        self.in_string = False
        self.size = 0
        self.number = 0

    def follow(self, data: bytes) -> None:
        """Take in the next piece."""
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
    """Where in this text the string ends that it begins in the middle of, or the end of the text."""
    end = _without_escaped_quotes(data).find(b'"')
    return len(data) if end < 0 else end


def _without_escaped_quotes(data: bytes) -> bytes:
    """Text in which every quote begins or ends a string, and stands where it stood."""
    return data.replace(rb"\\", b"__").replace(rb"\"", b"__")


def _least_size(text: bytes) -> int:
    """Bytes that a part of a string has at least: of an escape of two bytes or six one is left, or more."""
    backslashes = text.count(b"\\")
    if not backslashes:
        return len(text)
    escapes = backslashes - text.count(rb"\\")
    return len(text) - escapes - 4 * text.replace(rb"\\", b"__").count(rb"\u")
