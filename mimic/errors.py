"""The errors of Mimic, in the words of the domain. No driver and no vendor's format is known here.

::

    MimicError
    ├── SettingError             a setting that does not parse
    ├── RequestError             a request is refused or fails; every wire renders it in its vendor's shape
    ├── Miss                     the corpus has no answer
    │   ├── NoCompletion         no message in the corpus ever followed
    │   └── NoConversation       no document at this position of the corpus
    ├── DumpError                the input of a seeding is bad
    │   ├── BrokenDump           not JSON, truncated, not an array: at a byte offset
    │   │   └── ForeignFile      a file of another kind: compressed, a table, a page of the web
    │   ├── SkippedConversation  one conversation is broken, and the seeding is strict
    │   └── NothingToSeed        no conversation in it
    ├── SeedingError             the seeding itself cannot go on
    │   ├── SeedingInProgress    another one holds the store
    │   └── SeedingLost          another one took the store over
    └── StoreError               the store failed
        ├── StoreUnavailable     it cannot be reached, or not in time
        ├── StoreFull            no space left
        ├── UnusableStore        what lies there is not a corpus, or a damaged one
        ├── Detached             a folder of the corpus is not there, or no more
        └── NotSeeded            nothing has been seeded, or not in this version, or not for this rung
"""

from collections.abc import Mapping, Sequence
from datetime import datetime


class MimicError(Exception):
    """The root of every error that Mimic raises on purpose; its text is meant for the user."""


class SettingError(MimicError):
    """A setting does not parse. The text names it."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


class RequestError(MimicError):
    """A request is refused, or fails. Neutral: every wire renders it in its vendor's shape.

    ``status`` is that of HTTP. ``kind`` names what was exceeded, or the type of an injected fault; without it the
    vendor's type for the status is used. ``param`` is the path of the field to blame. ``headers`` go with the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code
        self.headers: Mapping[str, str] = headers or {}


class Miss(MimicError):
    """The corpus has no answer to a request. ``code`` is a stable word for programs."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class NoCompletion(Miss):
    """No completion found for this message. The text may say more of what was looked for.

    ``candidates`` are the messages that came nearest, best first: scores from 0 to 1, and texts.
    """

    def __init__(self, detail: str = "", candidates: Sequence[tuple[float, str]] = ()) -> None:
        super().__init__(f"No completion found for this message{detail}", code="completion_not_found")
        self.candidates = candidates


class NoConversation(Miss):
    """The corpus has no document at this position, or has it no more since it was replaced."""

    def __init__(self, document: int) -> None:
        super().__init__(
            f"The corpus has no document {document}. It may have been replaced since", code="conversation_not_found"
        )


class DumpError(MimicError):
    """The input of a seeding is bad, and nothing was replaced."""


class BrokenDump(DumpError):
    """The input stops being a dump at a byte offset (counted from 0, after decompression).

    In JSON Lines the text names the ``line`` as well, counted from 1.
    """

    def __init__(self, offset: int, expected: str, line: int | None = None) -> None:
        super().__init__(f"byte {offset}: {expected}" if line is None else f"line {line}, byte {offset}: {expected}")
        self.offset = offset
        self.expected = expected
        self.line = line


class ForeignFile(BrokenDump):
    """The input is a file of another kind. The text names the kind, and a way to seed the file."""

    def __init__(self, kind: str) -> None:
        super().__init__(0, kind)
        self.args = (kind,)


class SkippedConversation(DumpError):
    """A conversation is broken, and the seeding was asked to be strict."""


class NothingToSeed(DumpError):
    """The input holds no conversation that can be seeded."""


class SeedingError(MimicError):
    """A seeding cannot go on; the corpus is as it was."""


class SeedingInProgress(SeedingError):
    """Another seeding holds the store."""

    def __init__(self, holder: str, since: datetime | None) -> None:
        when = f" since {since.isoformat(timespec='seconds')}" if since else ""
        super().__init__(f"another seeding is running: held by {holder}{when}")


class SeedingLost(SeedingError):
    """Another seeding took the store over, because this one had not been heard of for too long."""

    def __init__(self) -> None:
        super().__init__(
            "another seeding took over, because this one was not heard of for too long; nothing was replaced"
        )


class StoreError(MimicError):
    """The store failed.

    ``public`` is the part of the text that clients may be told: it names files without their folders, and no hosts.
    """

    def __init__(self, message: str = "", *, public: str = "") -> None:
        super().__init__(message)
        self.public = public


class StoreUnavailable(StoreError):
    """The store cannot be reached, or did not answer in time."""


class StoreFull(StoreError):
    """The store has no space left."""


class UnusableStore(StoreError):
    """What lies where the store should be is not a corpus of Mimic's, or a damaged one."""

    @classmethod
    def caused_by(cls, exc: StoreError) -> "UnusableStore":
        """The damage that another error turned out to be."""
        return cls(str(exc), public=exc.public)


class Detached(StoreError):
    """A folder that was attached to a corpus is not there, or no more."""


class NotSeeded(StoreError):
    """Nothing has been seeded, or not in the version asked for."""

    def __init__(self, version: str | None = None) -> None:
        text = "nothing has been seeded yet: run `mimic seed FILE`"
        if version:
            text = f"{version} has not been seeded: run `mimic seed FILE --versions {version}`"
        super().__init__(text, public=text)


class RungNotSeeded(NotSeeded):
    """The corpus was seeded without the index that a rung of the ladder needs."""

    def __init__(self, version: str, rung: str) -> None:
        text = f"{version} was seeded without the index for the rung {rung!r}: run `mimic seed FILE --match nearest`"
        StoreError.__init__(self, text, public=text)
