"""Loading dumps into a store: read them, make documents of every version, write batches, index, publish."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mimic.corpus.conversation import Conversation
from mimic.corpus.ladder import INDEXED, Depth
from mimic.corpus.manifest import Phase, Progress, Report, Size, Skipped, VersionReport, combined
from mimic.corpus.schemas import SCHEMAS, Schema, Version
from mimic.corpus.sizes import conversation_size
from mimic.corpus.stores.base import Replacement, Store
from mimic.errors import DumpError, NothingToSeed, SettingError, SkippedConversation
from mimic_seed.duplicates import Duplicates
from mimic_seed.embedding import TextEmbedding
from mimic_seed.file_reader import FileReader
from mimic_seed.formats import SHAPES
from mimic_seed.index_process import Indexing
from mimic_seed.joining import Joiner
from mimic_seed.profiler import Profiler
from mimic_seed.source import Document, Source

if TYPE_CHECKING:
    from mimic.corpus.similar.embedding_model import EmbeddingModel

BATCH_CHARACTERS = 256 * 1024
"""Characters of text that fill a batch, regardless of its number of documents."""

NAMED_EXAMPLES = 10
"""Skipped conversations that the report names. The others are only counted."""

SECONDS_BETWEEN_RECORDS = 1.0

OnProgress = Callable[[Progress], None]
CountTokens = Callable[[str], int]
"""Returns the number of tokens of a text."""


async def load(
    sources: Source | Sequence[Source],
    store: Store,
    versions: Sequence[Version],
    *,
    batch_size: int = 1000,
    strict: bool = False,
    depth: Depth = "nearest",
    join_splits: bool = False,
    on_progress: OnProgress = lambda _: None,
    make_index: Callable[[Path, Depth], Indexing] = Indexing,
    model: "EmbeddingModel | None" = None,
    count_tokens: CountTokens | None = None,
) -> Report:
    """Replace these versions of the store's corpus by the conversations of sources, in one pass. Opens the sources.

    ``batch_size`` is in documents. ``depth`` is the lowest rung to serve; ``make_index(folder, depth)`` makes its
    index, and the depth ``meaning`` needs a ``model``. With ``join_splits`` the parts of a long chat become one
    conversation. With ``count_tokens`` the documents have the number of tokens of their messages.

    Raises BrokenDump if a source is not a valid dump, and NothingToSeed if all have no conversation. If ``strict``,
    raises SkippedConversation at the first broken conversation. Raises SeedingError and StoreError. After any error the
    old corpus stays.
    """
    if depth == "meaning" and model is None:
        raise SettingError("MIMIC_EMBEDDING_MODEL", "it is not set, and the rung 'meaning' needs it")
    opened = [sources] if isinstance(sources, Source) else sources
    async with store.replace(versions) as replacement, AsyncExitStack() as stack:
        for source in opened:
            with _named(source, opened):
                await stack.enter_async_context(source)
        index, embedding = None, None
        if depth in INDEXED:
            folder = await replacement.workspace()
            index = await stack.enter_async_context(make_index(folder, depth))
            if depth == "meaning" and model:
                embedding = stack.enter_context(TextEmbedding(folder, model))
        batches = [_Batches(SCHEMAS[version], replacement, batch_size) for version in versions]
        joiner = Joiner() if join_splits else None
        loading = _Loading(opened, replacement, batches, index, embedding, joiner, strict, on_progress, count_tokens)
        await loading.read()
        await loading.index()
        report = loading.report()
        await loading.report_progress("publishing")
        await replacement.publish(report)
        return report


class _Loading:
    """The state of a running seeding."""

    def __init__(
        self,
        sources: Sequence[Source],
        replacement: Replacement,
        batches: Sequence["_Batches"],
        index: Indexing | None,
        embedding: TextEmbedding | None,
        joiner: Joiner | None,
        strict: bool,
        on_progress: OnProgress,
        count_tokens: CountTokens | None,
    ) -> None:
        self._started = time.perf_counter()
        self._sources = sources
        self._replacement = replacement
        self._batches = batches
        self._index = index
        self._embedding = embedding
        self._index_name = ""
        self._joiner = joiner
        self._strict = strict
        self._on_progress = on_progress
        self._count_tokens = count_tokens
        self._conversations = 0
        self._messages = 0
        self._skipped: Counter[str] = Counter()
        self._examples: list[Skipped] = []
        self._profiler = Profiler()
        self._duplicates = Duplicates()
        self._unusable_ids = 0
        self._left_out: Counter[str] = Counter()
        self._recorded_at = 0.0

    async def read(self) -> None:
        """Read the sources to their ends, and write all documents."""
        for source in self._sources:
            async with aclosing(source.documents()) as documents:
                with _named(source, self._sources):
                    async for document in documents:
                        with _named(document):
                            await self._read(document, source.name if len(self._sources) > 1 else "")
        if self._joiner:
            await self._add(self._joiner.finish())
        if not self._conversations:
            raise NothingToSeed(self._why_nothing())
        for batches in self._batches:
            await batches.finish()

    async def _read(self, document: Document, source: str) -> None:
        reader = FileReader()
        async for chunk in document.chunks:
            await self._take(reader.feed(chunk), source)
            await self.report_progress("reading")
        await self._take(reader.close(), source)
        self._unusable_ids += reader.unusable_ids
        self._left_out.update(reader.left_out)

    async def index(self) -> None:
        for batches in self._batches:
            await self.report_progress("indexing")
            await batches.index()
        if self._index:
            await self._index.finish()
            if self._embedding:
                await self._embedding.finish(self._report_texts)
            self._index_name = await self._replacement.attach()

    def report(self) -> Report:
        origins = [source.origin() for source in self._sources]
        origin = combined(origins)
        index = self._index.seeded(self._index_name) if self._index else None
        if index and self._embedding:
            index = self._embedding.described(index)
        return Report(
            source=origin,
            sources=origins,
            conversations=self._conversations,
            messages=self._messages,
            versions={batches.schema.version: batches.report(origin.bytes) for batches in self._batches},
            skipped=dict(self._skipped.most_common()),
            examples=self._examples,
            seconds=time.perf_counter() - self._started,
            peak_memory_bytes=peak_memory_bytes(),
            joined=self._joiner.joined if self._joiner else 0,
            index=index,
            unusable_ids=self._unusable_ids,
            duplicate_ids=self._duplicates.count,
            left_out=dict(self._left_out.most_common()),
            profile=self._profiler.profile(),
        )

    async def _report_texts(self, texts: int, total: int, per_second: float) -> None:
        await self.report_progress("embedding", (texts, total, per_second))

    async def report_progress(self, phase: Phase, texts: tuple[int, int, float] = (0, 0, 0.0)) -> None:
        """Report the progress to the callback, and record it in the store once a second.

        ``texts`` are those with a vector, their total, and their number per second.
        """
        progress = Progress(
            phase=phase,
            bytes=sum(source.bytes_read for source in self._sources),
            total_bytes=_sum(source.total_bytes for source in self._sources),
            conversations=self._conversations,
            messages=self._messages,
            seconds=time.perf_counter() - self._started,
            texts=texts[0],
            total_texts=texts[1],
            texts_per_second=texts[2],
        )
        self._on_progress(progress)
        if phase in {"indexing", "publishing"} or progress.seconds >= self._recorded_at + SECONDS_BETWEEN_RECORDS:
            self._recorded_at = progress.seconds
            await self._replacement.progress(progress)

    async def _take(self, found: Sequence[Conversation | Skipped], source: str) -> None:
        for item in found:
            if isinstance(item, Skipped):
                self._skip(item, source)
            else:
                self._duplicates.add(item.id)
                await self._add(self._joiner.add(item) if self._joiner else (item,))

    async def _add(self, conversations: Sequence[Conversation]) -> None:
        for conversation in conversations:
            self._conversations += 1
            self._messages += len(conversation.messages)
            self._profiler.add(conversation)
            characters = conversation_size(conversation)
            counted = self._counted(conversation)
            for batches in self._batches:
                await batches.add(counted, characters)
            if self._index:
                await self._index.add(conversation)
            if self._embedding:
                self._embedding.add(conversation)

    def _counted(self, conversation: Conversation) -> Conversation:
        """The conversation with the numbers of tokens of its messages, if they are to be counted."""
        if self._count_tokens is None:
            return conversation
        tokens = [self._count_tokens(message.value) for message in conversation.messages]
        return msgspec.structs.replace(conversation, tokens=tokens)

    def _skip(self, skipped: Skipped, source: str) -> None:
        if self._strict:
            raise SkippedConversation(str(skipped))
        self._skipped[skipped.reason] += 1
        if len(self._examples) < NAMED_EXAMPLES:
            self._examples.append(msgspec.structs.replace(skipped, source=source))

    def _why_nothing(self) -> str:
        if not self._skipped:
            return "the input holds no conversation; nothing was replaced"
        reasons = ", ".join(f"{count} {reason}" for reason, count in self._skipped.most_common())
        return (
            f"the input holds no conversation that can be seeded ({reasons}); nothing was replaced. "
            f"Understood are: {SHAPES}"
        )


@contextmanager
def _named(part: Source | Document, parts: Sequence[object] = ()) -> Iterator[None]:
    """Name a part in an error of it: one of several sources, or a file in an archive."""
    try:
        yield
    except DumpError as exc:
        if part.name and len(parts) != 1:
            exc.args = (f"{part.name}: {exc}",)
        raise


def _sum(sizes: Iterable[int | None]) -> int | None:
    """The sum of sizes; None if one is unknown."""
    known = list(sizes)
    return None if None in known else sum(size or 0 for size in known)


class _Batches:
    """Collects one version's documents into batches, writes them, and measures the time."""

    def __init__(self, schema: Schema, replacement: Replacement, batch_size: int) -> None:
        self.schema = schema
        self._replacement = replacement
        self._batch_size = batch_size
        self._batch: list[dict[str, Any]] = []
        self._characters = 0
        self._documents = 0
        self._seconds = 0.0
        self._index_seconds = 0.0
        self._size = Size(0, 0, 0)

    async def add(self, conversation: Conversation, characters: int) -> None:
        started = time.perf_counter()
        self._characters += characters
        for document in self.schema.documents(conversation):
            self._batch.append(document)
            if len(self._batch) >= self._batch_size:
                await self._write()
        if self._characters >= BATCH_CHARACTERS:
            await self._write()
        self._seconds += time.perf_counter() - started

    async def finish(self) -> None:
        started = time.perf_counter()
        await self._write()
        self._seconds += time.perf_counter() - started

    async def index(self) -> None:
        started = time.perf_counter()
        self._size = await self._replacement.index(self.schema.version)
        self._index_seconds = time.perf_counter() - started

    def report(self, dump_bytes: int) -> VersionReport:
        return VersionReport(
            documents=self._documents,
            seconds=self._seconds,
            index_seconds=self._index_seconds,
            megabytes_per_second=dump_bytes / 1e6 / (self._seconds + self._index_seconds),
            size=self._size,
        )

    async def _write(self) -> None:
        batch, self._batch, self._characters = self._batch, [], 0
        if batch:
            self._documents += len(batch)
            await self._replacement.add(self.schema.version, batch)


def peak_memory_bytes() -> int:
    """Peak resident memory in bytes of this process plus its largest child process. 0 on Windows."""
    if sys.platform == "win32":
        return 0
    import resource  # noqa: PLC0415 - not on Windows

    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    # getrusage(2) returns KiB; on macOS, bytes.
    return own + children if sys.platform == "darwin" else ((_high_water_kib() or own) + children) * 1024


def _high_water_kib() -> int | None:
    """The peak of this program on Linux. getrusage also includes the program that called exec before it."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return None
