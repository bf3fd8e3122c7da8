"""Recordings in a folder: a JSON file for each conversation, made to be read and kept in a repository."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from mimic.corpus.stores.locks import lock, open_folder
from mimic.errors import RecordingsUnusable
from mimic.recordings.base import Recording, Recordings, extended
from mimic.recordings.identity import Identity
from mimic.recordings.options import NO_RULES, IgnoreRules

LONGEST_WAIT: Final = 10.0
"""Seconds to wait for another process that writes."""
WAIT: Final = 0.01
SCAN_SECONDS: Final = 1.0
FORMAT: Final = 1


class RecordingFile(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a file: the recordings of a conversation, in the order of its growth."""

    mimic_recordings: int = FORMAT
    recordings: Sequence[Recording]


class FolderRecordings(Recordings):
    """The recordings in a folder. Files that others change meanwhile are read again.

    A recording is found by the request in its file, under the rules of now: files may be edited, and rules may change.
    A lock on the folder keeps two writers apart, and a file is replaced as a whole.
    """

    def __init__(self, folder: Path, rules: IgnoreRules = NO_RULES) -> None:
        self._folder = folder
        self._rules = rules
        self._read: dict[Path, tuple[tuple[int, int], Sequence[Recording]]] = {}
        self._found: dict[str, list[Recording]] = {}
        self._scanned: tuple[int, float] = (0, float("-inf"))
        self._writing = threading.RLock()

    async def find(self, identity: Identity) -> Sequence[Recording]:
        return await asyncio.to_thread(self._find, identity.key)

    async def add(self, recording: Recording) -> bool:
        return await asyncio.to_thread(self._add, recording)

    async def all(self) -> Sequence[Recording]:
        return await asyncio.to_thread(lambda: [one for file in self._files() for one in self._recordings_in(file)])

    async def delete(self, key: str) -> int:
        return await asyncio.to_thread(self._delete, key)

    def _files(self) -> Sequence[Path]:
        return sorted(self._folder.glob("*.json"))

    def _find(self, key: str) -> Sequence[Recording]:
        """The recordings with a key. A file that is edited in place is noticed within SCAN_SECONDS."""
        with self._writing:
            try:
                changed = self._folder.stat().st_mtime_ns
            except FileNotFoundError:
                return ()
            if changed != self._scanned[0] or time.monotonic() - self._scanned[1] > SCAN_SECONDS:
                self._found = {}
                for file in self._files():
                    self._index(self._recordings_in(file))
                self._scanned = (changed, time.monotonic())
            return [*self._found.get(key, ())]

    def _index(self, recordings: Sequence[Recording]) -> None:
        for one in recordings:
            self._found.setdefault(one.key, []).append(one)

    def _reindex(self, file: Path, before: Sequence[Recording]) -> None:
        """Index a file that this process has just written, without a look at all the others."""
        for one in before:
            known = self._found.get(one.key, [])
            if one in known:  # absent if the file was edited meanwhile
                known.remove(one)
        self._index(self._recordings_in(file))
        self._scanned = (self._folder.stat().st_mtime_ns, self._scanned[1])

    def _recordings_in(self, file: Path) -> Sequence[Recording]:
        """The recordings in a file, with keys by the rules. Raises RecordingsUnusable."""
        try:
            status = file.stat()
            version = (status.st_mtime_ns, status.st_size)
            known = self._read.get(file)
            if known is None or known[0] != version:
                keyed = [replace(one, key=Identity.of(one.request, self._rules).key) for one in _decode(file)]
                known = self._read[file] = (version, keyed)
        except FileNotFoundError:
            return ()
        except OSError as exc:
            raise RecordingsUnusable(f"{file}: {exc.strerror}") from exc
        return known[1]

    def _add(self, recording: Recording) -> bool:
        identity = Identity.of(recording.request, self._rules)
        with self._locked():
            elsewhere = self._find(identity.key)
            changed = extended(elsewhere, recording)
            if changed is None:
                return False
            gone = {id(one) for one in elsewhere} - {id(one) for one in changed}
            file = self._folder / f"{identity.title}-{identity.conversation[:8]}.json"
            before = self._recordings_in(file)
            kept = [one for one in before if id(one) not in gone]
            self._write(file, sorted([*kept, recording], key=_length))  # a stable sort: the newest stays last
            self._reindex(file, before)
        return True

    def _delete(self, key: str) -> int:
        deleted = 0
        with self._locked():
            for file in self._files():
                kept = self._recordings_in(file)
                left = [one for one in kept if one.key != key]
                deleted += len(kept) - len(left)
                if len(left) < len(kept):
                    self._write(file, left)
        return deleted

    def _write(self, file: Path, recordings: Sequence[Recording]) -> None:
        """Replace a file, or remove it if nothing is left."""
        if not recordings:
            file.unlink()
            return
        content = msgspec.json.encode(RecordingFile(recordings=recordings))
        part = file.with_suffix(".part")
        part.write_bytes(msgspec.json.format(content, indent=2) + b"\n")
        part.replace(file)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other writers out, in this process and in others. Raises RecordingsUnusable."""
        with self._writing, self._locked_folder():
            yield

    @contextmanager
    def _locked_folder(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            opened = open_folder(self._folder)
            try:
                _wait_for(opened)
                yield
            finally:
                os.close(opened)
        except BlockingIOError:
            raise RecordingsUnusable(f"{self._folder}: another process has been writing for too long") from None
        except OSError as exc:
            raise RecordingsUnusable(f"{self._folder}: {exc.strerror}") from exc


def _wait_for(opened: int) -> None:
    """Lock an open file. Raises BlockingIOError after LONGEST_WAIT."""
    end = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < end:
        with suppress(BlockingIOError):
            lock(opened)
            return
        time.sleep(WAIT)
    lock(opened)


def _decode(file: Path) -> Sequence[Recording]:
    try:
        content = msgspec.json.decode(file.read_bytes(), type=RecordingFile)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise RecordingsUnusable(f"{file} is no file of recordings: {exc}") from exc
    if content.mimic_recordings > FORMAT:
        raise RecordingsUnusable(f"{file} was written by a newer version of Mimic")
    return content.recordings


def _length(recording: Recording) -> int:
    """The number of messages of a recording's request."""
    return len(recording.request.get("messages", ()))
