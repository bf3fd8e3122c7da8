"""Time in a process whose clock may be frozen, as freezegun and time-machine do for tests."""

import sys
import time
from datetime import datetime
from typing import Any

import msgspec


def elapsed() -> float:
    """Seconds of a monotonic clock that goes on while those of the ``time`` module are frozen."""
    if sys.platform == "win32":
        from ctypes import c_uint64, windll  # noqa: PLC0415 - there only

        windll.kernel32.GetTickCount64.restype = c_uint64
        return float(windll.kernel32.GetTickCount64()) / 1000
    # freezegun replaces time.monotonic and time.perf_counter, for modules that hold these functions, too.
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def decode_datetime(kind: type, value: Any) -> datetime:
    """A ``dec_hook`` for structs whose types msgspec read while the clock was frozen: it does so once in a process.

    It is called for a subclass of ``datetime`` in their annotations, and returns instances of the real class.
    """
    real: type[datetime] = next(base for base in kind.__mro__ if base.__module__ == "datetime")
    return msgspec.convert(value, real)
