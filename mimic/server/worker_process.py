"""A worker process: its garbage collector, and its end with its parent process."""

import asyncio
import gc
import multiprocessing
import os
import signal

import structlog

log = structlog.get_logger("mimic")


def end_with_parent() -> None:
    """End this worker process with SIGTERM when its parent process is killed."""
    parent, loop = multiprocessing.parent_process(), asyncio.get_running_loop()
    if parent is None:
        return

    def end() -> None:
        loop.remove_reader(parent.sentinel)
        log.error("the parent process has ended")
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(parent.sentinel, end)


def collect_seldom() -> None:
    """Run the garbage collector less often, and exclude the objects that exist now.

    A collection pauses all requests and streams, and finds almost nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
