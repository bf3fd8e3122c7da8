"""Answers of the upstream become recordings, without secrets."""

import asyncio
from collections.abc import Sequence

import msgspec
import structlog

from mimic.errors import StoreError
from mimic.gateway.delivery import OK
from mimic.recordings.base import Chunk, Recording, Recordings
from mimic.recordings.identity import Identity, map_texts
from mimic.recordings.options import RelayOptions
from mimic.recordings.redaction import Redactor
from mimic.recordings.tape import Tape
from mimic.wire.base import Given, GivenAnswer

log = structlog.get_logger("mimic")


class Recorder:
    """Keeps answers in the recordings, as the options say."""

    def __init__(self, options: RelayOptions, recordings: Recordings) -> None:
        self._options = options
        self._recordings = recordings

    @property
    def is_on(self) -> bool:
        """True if answers are recorded."""
        return self._options.record != "off"

    @property
    def keeps_errors(self) -> bool:
        """True if errors are recorded as well."""
        return self.is_on and self._options.errors

    async def record(
        self,
        identity: Identity,
        path: str,
        given: Given,
        tape: Tape,
        redactor: Redactor,
        *,
        stream: bool,
        status: int = OK,
    ) -> None:
        """Keep the answer to a request, unless it is too long. A failure is logged: the client has its answer."""
        if not self.is_on or tape.is_too_long:
            return
        answer, chunks = await asyncio.to_thread(_without_secrets, given.answer, tape, redactor)
        recording = Recording(
            key=identity.key,
            request=identity.parts,
            answer=answer,
            path=path,
            stream=stream,
            status=status,
            id=given.id,
            chunks=chunks,
        )
        try:
            if await self._recordings.add(recording):
                log.info("recorded", key=recording.key, path=path)
        except StoreError as exc:
            reason = f"{exc}{f': {exc.__cause__!r}' if exc.__cause__ else ''}"
            log.error("an answer could not be recorded", key=recording.key, reason=reason)  # noqa: TRY400


def _without_secrets(answer: GivenAnswer, tape: Tape, redactor: Redactor) -> tuple[GivenAnswer, Sequence[Chunk]]:
    """An answer and its bytes without secrets; no bytes, if they have one. Blocks."""
    clean = redactor.clean
    cleaned = msgspec.convert(map_texts(msgspec.to_builtins(answer), clean), GivenAnswer)
    chunks = tape.chunks()
    whole = "".join(chunk.text for chunk in chunks)
    return cleaned, chunks if cleaned == answer and clean(whole) == whole else ()
