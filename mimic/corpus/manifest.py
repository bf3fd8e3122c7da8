"""The manifest of a corpus: its contents, its source, and its last seeding, as plain data."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal, TypeAlias

import msgspec

from mimic.corpus.ladder import Depth
from mimic.corpus.layout import LAYOUT, UNNUMBERED
from mimic.corpus.profile import Profile

State: TypeAlias = Literal["running", "done", "failed", "interrupted"]

Phase: TypeAlias = Literal["reading", "indexing", "embedding", "publishing"]


class ExitCode(IntEnum):
    """Exit codes of ``mimic seed``."""

    DONE = 0
    BAD_INPUT = 1
    WRONG_USAGE = 2
    STORE_UNREACHABLE = 3
    IN_PROGRESS = 4
    STOPPED = 130


class Origin(msgspec.Struct, frozen=True):
    """The file that was seeded: its name, its size in bytes (compressed, as stored), and the SHA-256 of these bytes."""

    name: str
    bytes: int
    sha256: str


def combined(origins: Sequence[Origin]) -> Origin:
    """The origin of a corpus from these files (at least one).

    For several files, the SHA-256 is that of their SHA-256 sums in hexadecimal, each followed by a line end.
    """
    first, *others = origins
    if not others:
        return first
    sums = "".join(f"{origin.sha256}\n" for origin in origins)
    return Origin(
        f"{first.name} and {len(others)} more",
        sum(origin.bytes for origin in origins),
        hashlib.sha256(sums.encode()).hexdigest(),
    )


class Size(msgspec.Struct, frozen=True):
    """The size of a version in bytes: its documents, the same on disk (compressed or not), and its indexes."""

    data_bytes: int
    disk_bytes: int
    index_bytes: int


class SeededIndex(msgspec.Struct, frozen=True, omit_defaults=True):
    """The index that finds similar messages: the lowest rung it serves, the seconds it took, and its size.

    With the rung ``meaning`` it has ``vectors``, a number of different texts. ``model`` is the SHA-256 of their model.
    """

    id: str
    depth: Depth
    messages: int
    seconds: float
    bytes: int
    vectors: int = 0
    vector_seconds: float = 0.0
    model: str | None = None


class Seeded(msgspec.Struct, frozen=True):
    """A version of the corpus in the store. Without an index, messages are found byte for byte only.

    ``sources`` are the files in order, ``source`` combines them. Entries by an earlier Mimic have no profile, no
    ``sources``, or another ``layout`` (see :mod:`mimic.corpus.layout`).
    """

    documents: int
    conversations: int
    messages: int
    size: Size
    source: Origin
    seeded_at: datetime
    index: SeededIndex | None = None
    profile: Profile | None = None
    layout: int = UNNUMBERED
    sources: Sequence[Origin] = ()


def warnings_of(seeded: Mapping[Any, Seeded]) -> Sequence[str]:
    """Warnings about versions that were seeded in an older layout; empty if all are up to date."""
    older: dict[int, list[str]] = {}
    for version, entry in seeded.items():
        if entry.layout != LAYOUT:
            older.setdefault(entry.layout, []).append(version)
    return [
        f"{', '.join(versions)}: seeded by an earlier Mimic in layout {layout} (now {LAYOUT}). The corpus still gives "
        "answers. Seed again for the current indexes."
        for layout, versions in sorted(older.items())
    ]


class Progress(msgspec.Struct, frozen=True):
    """The progress of a seeding. ``total_bytes`` is None if the input is a pipe.

    ``texts`` of ``total_texts`` have their vectors, in the phase ``embedding``.
    """

    phase: Phase = "reading"
    bytes: int = 0
    total_bytes: int | None = None
    conversations: int = 0
    messages: int = 0
    seconds: float = 0.0
    texts: int = 0
    total_texts: int = 0
    texts_per_second: float = 0.0


class Skipped(msgspec.Struct, frozen=True):
    """A skipped conversation: its position in the file from 0, its id if it has one, and the reason.

    ``source`` is the name of the file if the corpus has several.
    """

    position: int
    id: str | None
    reason: str
    detail: str = ""
    source: str = ""

    def __str__(self) -> str:
        place = f"{self.source}, " if self.source else ""
        name = f"{place}conversation {self.position}" + (f" (id {self.id})" if self.id is not None else "")
        return f"{name}: {self.detail or self.reason}"


class VersionReport(msgspec.Struct, frozen=True):
    """The time and space that a version took.

    ``seconds`` is the time for making and writing its documents, ``index_seconds`` the time for its indexes.
    ``megabytes_per_second`` is the dump's size divided by both, in 10^6 bytes.
    """

    documents: int
    seconds: float
    index_seconds: float
    megabytes_per_second: float
    size: Size


class Report(msgspec.Struct, frozen=True):
    """The result of a successful seeding.

    ``joined`` counts the parts of chats that were joined to earlier parts. ``unusable_ids`` counts the conversations
    that were kept without an id, because it was neither a string nor a number. ``duplicate_ids`` counts the
    conversations with the id of an earlier one. ``left_out`` counts data of the files that a corpus does not keep.
    """

    source: Origin
    conversations: int
    messages: int
    versions: Mapping[str, VersionReport]
    skipped: Mapping[str, int]
    examples: Sequence[Skipped]
    seconds: float
    peak_memory_bytes: int
    joined: int = 0
    index: SeededIndex | None = None
    profile: Profile | None = None
    unusable_ids: int = 0
    sources: Sequence[Origin] = ()
    duplicate_ids: int = 0
    left_out: Mapping[str, int] = {}

    def seeded(self, version: str, at: datetime) -> Seeded:
        """The manifest entry of a version that this seeding wrote."""
        cost = self.versions[version]
        return Seeded(
            documents=cost.documents,
            conversations=self.conversations,
            messages=self.messages,
            size=cost.size,
            source=self.source,
            seeded_at=at,
            index=self.index,
            profile=self.profile,
            layout=LAYOUT,
            sources=self.sources,
        )


class Seeding(msgspec.Struct, frozen=True):
    """The last seeding of a store: its holder (the process), its start, its progress and its result."""

    id: str
    state: State
    holder: str
    since: datetime
    progress: Progress = Progress()
    report: Report | None = None
    error: str | None = None
