"""The errors of Mimic, in terms of the domain. They depend on no database driver and on no vendor's format.

::

    MimicError
    ├── SettingError             a setting that does not parse
    ├── RequestError             a request is refused or fails; each wire renders it in its vendor's shape
    ├── Miss                     the corpus has no answer
    │   ├── NoCompletion         no message of the corpus followed
    │   ├── NoConversation       the corpus has no document at this position
    │   └── NotRecorded          no recording answers, and nothing else may
    ├── DumpError                the input of a seeding is bad
    │   ├── BrokenDump           not JSON, truncated, or not an array, at a byte offset
    │   │   └── ForeignFile      a file of another kind: compressed, a table, a web page
    │   ├── SkippedConversation  a conversation is broken, and the seeding is strict
    │   └── NothingToSeed        the input has no conversation
    ├── SeedingError             the seeding itself cannot continue
    │   ├── SeedingInProgress    another seeding holds the store
    │   └── SeedingLost          another seeding took the store over
    ├── RecordError              a record cannot be read or written as asked
    │   ├── RecordsFull          unfinished records fill the bounds
    │   ├── RecordTooLarge       the data of a record exceed its limit
    │   ├── RecordChanged        the record was changed or deleted since it was read
    │   │   └── LeaseLost        the job was claimed again, released or ended
    │   └── UnknownCursor        a list has no record with this id
    ├── WebhookFailed            an attempt to send a webhook got no answer
    └── StoreError               the store failed
        ├── RecordsUnavailable   the store of the records cannot be reached, or has no space left
        ├── StoreUnavailable     the store cannot be reached, or did not answer in time
        ├── StoreFull            the store has no space left
        ├── UnusableStore        the file or database is not a corpus, or is damaged
        ├── RecordingsUnusable   the folder or store of the recordings cannot be read or written
        ├── UnusableModel        the embedding model cannot be loaded, or is not that of the corpus
        ├── Detached             a folder of the corpus is missing
        ├── CorpusReplaced       a seeding replaced the corpus while it was read as a whole
        └── NotSeeded            nothing has been seeded, or not this version, or not for this rung
"""

from collections.abc import Mapping, Sequence
from datetime import datetime


class MimicError(Exception):
    """The base class of all errors that Mimic raises on purpose. Their texts are meant for the user."""


class SettingError(MimicError):
    """A setting does not parse. The text names the setting."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


class RequestError(MimicError):
    """A request is refused, or fails. Each wire renders this error in its vendor's shape.

    ``status`` is the HTTP status. ``kind`` names the limit that was exceeded, or the type of an injected fault; without
    it, wires use the vendor's type for the status. ``param`` is the path of the invalid field. ``headers`` are added to
    the answer.
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
    """The corpus has no answer to a request. ``code`` is a stable identifier for programs."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class NoCompletion(Miss):
    """No completion found for this message. ``detail`` adds a description of the search.

    ``candidates`` are the messages that came nearest, best first: scores from 0 to 1, and texts.
    """

    def __init__(self, detail: str = "", candidates: Sequence[tuple[float, str]] = ()) -> None:
        super().__init__(f"No completion found for this message{detail}", code="completion_not_found")
        self.candidates = candidates


class NoConversation(Miss):
    """The corpus has no document at this position. The corpus may have been replaced."""

    def __init__(self, document: int) -> None:
        super().__init__(
            f"The corpus has no document {document}. It may have been replaced", code="conversation_not_found"
        )


class NotRecorded(Miss):
    """No recording answers this request, and nothing else may."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="not_recorded")


class DumpError(MimicError):
    """The input of a seeding is bad, and nothing was replaced."""


class BrokenDump(DumpError):
    """The input stops being a valid dump at a byte offset, counted from 0 after decompression.

    For JSON Lines the text also names the ``line``, counted from 1.
    """

    def __init__(self, offset: int, expected: str, line: int | None = None) -> None:
        super().__init__(f"byte {offset}: {expected}" if line is None else f"line {line}, byte {offset}: {expected}")
        self.offset = offset
        self.expected = expected
        self.line = line


class ForeignFile(BrokenDump):
    """The input is a file of another kind. The text names the kind and a way to seed the file."""

    def __init__(self, kind: str) -> None:
        super().__init__(0, kind)
        self.args = (kind,)


class SkippedConversation(DumpError):
    """A conversation is broken, and the seeding is strict."""


class NothingToSeed(DumpError):
    """The input holds no conversation that can be seeded."""


class SeedingError(MimicError):
    """A seeding cannot continue. The corpus is unchanged."""


class SeedingInProgress(SeedingError):
    """Another seeding holds the store."""

    def __init__(self, holder: str, since: datetime | None) -> None:
        when = f" since {since.isoformat(timespec='seconds')}" if since else ""
        super().__init__(f"another seeding is running: held by {holder}{when}")


class SeedingLost(SeedingError):
    """Another seeding took the store over, because this one did not renew its lease in time."""

    def __init__(self) -> None:
        super().__init__(
            "another seeding took over, because this one did not renew its lease in time; nothing was replaced"
        )


class RecordError(MimicError):
    """A record cannot be read or written as asked. The store of the records works."""


class RecordsFull(RecordError):
    """Unfinished records fill the bounds, and nothing may be removed for a new one."""

    def __init__(self) -> None:
        super().__init__("Unfinished work fills the space for stored objects. Try again later")


class RecordTooLarge(RecordError):
    """The data of a record exceed the limit."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"The object is too large to be stored: {size:,} bytes, of at most {most:,}")


class RecordChanged(RecordError):
    """Another request changed or deleted the record since it was read."""

    def __init__(self, text: str = "Another request changed or deleted the object at the same time") -> None:
        super().__init__(text)


class LeaseLost(RecordChanged):
    """The lease of a job is over: the job was claimed again, released or ended."""

    def __init__(self) -> None:
        super().__init__("The work on the object was ended, or taken over by another process")


class UnknownCursor(RecordError):
    """The list has no record with the id of a cursor."""

    def __init__(self, cursor: str) -> None:
        super().__init__(f"The list has no object with the id {cursor!r}")
        self.cursor = cursor


class WebhookFailed(MimicError):
    """An attempt to send a webhook got no answer. ``reason`` is a word for programs."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The webhook got no answer: {reason}")
        self.reason = reason


class StoreError(MimicError):
    """The store failed.

    ``public`` is a text for clients: it names files without their folders, and no hosts.
    """

    def __init__(self, message: str = "", *, public: str = "") -> None:
        super().__init__(message)
        self.public = public


class RecordsUnavailable(StoreError):
    """The store of the records cannot be reached, or has no space left."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, or did not answer in time."""


class StoreFull(StoreError):
    """The store has no space left."""


class UnusableStore(StoreError):
    """The file or database is not a Mimic corpus, or is damaged."""

    @classmethod
    def caused_by(cls, exc: StoreError) -> "UnusableStore":
        """The same text as an UnusableStore, for an error that turned out to be damage."""
        return cls(str(exc), public=exc.public)


class UnusableModel(StoreError):
    """The embedding model cannot be loaded, or is not the model of the corpus."""


class RecordingsUnusable(StoreError):
    """The folder or the store of the recordings cannot be read or written."""


class Detached(StoreError):
    """A folder that belongs to a corpus is missing."""


class CorpusReplaced(StoreError):
    """A seeding replaced the corpus while it was read as a whole."""

    def __init__(self) -> None:
        super().__init__("a seeding replaced the corpus meanwhile: try again")


class NotSeeded(StoreError):
    """Nothing has been seeded, or not in the requested version."""

    def __init__(self, version: str | None = None) -> None:
        text = "nothing has been seeded yet: run `mimic seed FILE`"
        if version:
            text = f"{version} has not been seeded: run `mimic seed FILE --versions {version}`"
        super().__init__(text, public=text)


class RungNotSeeded(NotSeeded):
    """The corpus was seeded without the index that a rung of the ladder needs."""

    def __init__(self, version: str, rung: str) -> None:
        depth = "meaning" if rung == "meaning" else "nearest"
        text = f"{version} was seeded without the index for the rung {rung!r}: run `mimic seed FILE --match {depth}`"
        StoreError.__init__(self, text, public=text)
