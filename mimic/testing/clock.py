"""Time in a process with a frozen clock, as by freezegun or time-machine in tests."""

import sys
import time
from datetime import datetime
from typing import Any

import msgspec


def elapsed() -> float:
    """Return the seconds of a monotonic clock that continues while the ``time`` module is frozen."""
    if sys.platform == "win32":
        from ctypes import c_uint64, windll  # noqa: PLC0415 - exists on Windows only

        windll.kernel32.GetTickCount64.restype = c_uint64
        return float(windll.kernel32.GetTickCount64()) / 1000
    # freezegun replaces time.monotonic and time.perf_counter, also in modules that imported these functions.
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def decode_datetime(kind: type, value: Any) -> datetime:
    """Decode a datetime, as ``dec_hook`` of a decoder for structs with a frozen ``datetime`` in their annotations.

    msgspec reads annotations once in a process. If the clock is frozen then, it sees a subclass of ``datetime``, and
    calls this hook. The hook returns instances of the real class.
    """
    real: type[datetime] = next(base for base in kind.__mro__ if base.__module__ == "datetime")
    return msgspec.convert(value, real)
