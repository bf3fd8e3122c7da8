"""Forks locust off a process that has loaded it, for tests: loading takes longer than a short run.

Users pause between two questions, since a test needs some answers and not all that a processor can give.
"""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

if __name__ == "__main__":  # they replace Python's sockets and threads
    import gevent  # type: ignore[import-untyped]
    import locust.main

PAUSE_SECONDS: Final = 0.02


class LocustServer:
    """The forking process, as seen by the program that has started it."""

    def __init__(self) -> None:
        command = (sys.executable, "-m", "tests.support.locust_server")
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, arguments: Sequence[str]) -> int:
        """Run locust; return its exit code."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(list(arguments)).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the forking process."""
        self._process.communicate()


def main() -> None:
    """The forking process: one run of locust for each line of its input."""
    locust.FastHttpUser.wait_time = locust.constant(PAUSE_SECONDS)
    for line in sys.stdin.buffer:
        if not (pid := os.fork()):
            _become_locust(json.loads(line))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become_locust(arguments: Sequence[str]) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nothing, stream)
    sys.argv[1:] = arguments
    gevent.get_hub().loop.update_now()  # the timer of the run would begin at the start of the forking process
    runpy.run_module("locust", run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    main()
